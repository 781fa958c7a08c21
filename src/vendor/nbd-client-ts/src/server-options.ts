// What a server answers to each option once TLS, shutdown and framing are settled: exports,
// information and meta contexts. Invariant: contexts belong to one export and are dropped if the
// client ends up with another one. It holds the negotiated state that STARTTLS must forget.

import {
  NBD_EXPORT_NAME_PADDING,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_DF,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_NAME,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from './constants.ts'
import { ProtocolError } from './errors.ts'
import { EXPORTS_LISTED_MAX } from './limits.ts'
import {
  type BlockSize,
  blockSizeFault,
  decodeInfoRequest,
  decodeMetaRequest,
  encodeInfoBlockSize,
  encodeInfoExport,
  encodeOptionReply,
  type InfoRequest,
  type MetaContext,
  type MetaRequest,
} from './options.ts'
import { encodeText, PayloadReader, PayloadWriter } from './payload.ts'

/** What a server says about one export. */
export interface ExportInfo {
  /** Bytes. */
  readonly size: number
  /** Transmission flags. HAS_FLAGS is added, SEND_DF removed without structured replies. */
  readonly flags: number
  readonly blockSize: BlockSize
  readonly description?: string
  /** Meta contexts offered; the id of a context is its index here plus one. */
  readonly contexts?: readonly string[]
  /** With TLS policy 'optional': not to be had, nor listed, without TLS. */
  readonly tlsOnly?: boolean
}

/** Exports by name. It is looked at anew for each option, so the owner may change it. */
export type Exports = ReadonlyMap<string, ExportInfo>

/** What the transmission phase needs to know. */
export interface ServerHandshakeResult {
  /** Key in `exports`, also when the client asked for the default export. */
  readonly exportName: string
  readonly structuredReplies: boolean
  readonly contexts: readonly MetaContext[]
  /** Whether the client asked for the size constraints and so promised to keep them. */
  readonly requestedBlockSize: boolean
}

/** Queues one option reply. */
export type ReplyFunction = (option: number, type: number, data?: Uint8Array) => void

interface Chosen {
  readonly result: ServerHandshakeResult
  acknowledgement: Uint8Array
}

type Found = { name: string; info: ExportInfo } | { refusal: number; why: string }

/** The negotiated state of a session and the options that change it. */
export class ServerOptions {
  /** Whether NBD_OPT_EXPORT_NAME is answered without the 124 reserved bytes. */
  noZeroes = false
  chosen: Chosen | undefined
  readonly #exports: Exports
  readonly #defaultExport: string | undefined
  readonly #reply: ReplyFunction
  #structuredReplies = false
  #contexts: { exportName: string; selected: readonly MetaContext[] } | undefined
  #hideTlsOnly = false

  constructor(exports: Exports, defaultExport: string | undefined, reply: ReplyFunction) {
    this.#exports = exports
    this.#defaultExport = defaultExport
    this.#reply = reply
  }

  /** Forgets everything that was negotiated. */
  forget(): void {
    this.#structuredReplies = false
    this.#contexts = undefined
  }

  /**
   * Answers one option. 'chosen' means that the transmission phase begins; 'unavailable' that
   * NBD_OPT_EXPORT_NAME cannot be satisfied, for which there is no reply.
   */
  handle(
    option: number,
    data: Uint8Array,
    hideTlsOnly: boolean,
  ): 'chosen' | 'unavailable' | 'go-on' {
    this.#hideTlsOnly = hideTlsOnly
    try {
      return this.#handle(option, data)
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      if (option === NBD_OPT_EXPORT_NAME) return 'unavailable'
      this.#refuse(option, NBD_REP_ERR_INVALID, error.message)
      return 'go-on'
    }
  }

  #handle(option: number, data: Uint8Array): 'chosen' | 'unavailable' | 'go-on' {
    switch (option) {
      case NBD_OPT_EXPORT_NAME:
        return this.#exportName(new PayloadReader(data, 'export name').text(data.length))
      case NBD_OPT_GO:
        return this.#go(decodeInfoRequest(data))
      case NBD_OPT_INFO:
        if (this.#info(option, decodeInfoRequest(data)) !== undefined) {
          this.#reply(option, NBD_REP_ACK)
        }
        return 'go-on'
      case NBD_OPT_LIST:
        new PayloadReader(data, 'list request').end()
        this.#list()
        return 'go-on'
      case NBD_OPT_STRUCTURED_REPLY:
        new PayloadReader(data, 'structured reply request').end()
        this.#structuredReplies = true
        this.#reply(option, NBD_REP_ACK)
        return 'go-on'
      case NBD_OPT_LIST_META_CONTEXT:
      case NBD_OPT_SET_META_CONTEXT:
        this.#metaContext(option, data)
        return 'go-on'
      default:
        this.#refuse(option, NBD_REP_ERR_UNSUP, 'this server does not know the option')
        return 'go-on'
    }
  }

  #exportName(name: string): 'chosen' | 'unavailable' {
    const found = this.#find(name)
    if ('refusal' in found) return 'unavailable'
    const { size } = found.info
    const reply = new PayloadWriter().u64(size).u16(this.#transmissionFlags(found.info))
    if (!this.noZeroes) reply.bytes(new Uint8Array(NBD_EXPORT_NAME_PADDING))
    this.#choose(found.name, false, reply.finish())
    return 'chosen'
  }

  #go(request: InfoRequest): 'chosen' | 'go-on' {
    const name = this.#info(NBD_OPT_GO, request)
    if (name === undefined) return 'go-on'
    const acknowledgement = encodeOptionReply(NBD_OPT_GO, NBD_REP_ACK, new Uint8Array())
    this.#choose(name, request.wanted.includes(NBD_INFO_BLOCK_SIZE), acknowledgement)
    return 'chosen'
  }

  #choose(exportName: string, requestedBlockSize: boolean, acknowledgement: Uint8Array): void {
    const structuredReplies = this.#structuredReplies
    const contexts = this.#contexts?.exportName === exportName ? this.#contexts.selected : []
    const result = { exportName, structuredReplies, contexts, requestedBlockSize }
    this.chosen = { result, acknowledgement }
  }

  /** Sends the information about an export, without the final reply, and returns its name. */
  #info(option: number, { name, wanted }: InfoRequest): string | undefined {
    const found = this.#find(name)
    if ('refusal' in found) {
      this.#refuse(option, found.refusal, found.why)
      return undefined
    }
    const { info } = found
    const fault = blockSizeFault(info.blockSize)
    if (fault !== undefined) throw new Error(`export ${found.name}: ${fault}`)
    const flags = this.#transmissionFlags(info)
    this.#reply(option, NBD_REP_INFO, encodeInfoExport(info.size, flags))
    if (wanted.includes(NBD_INFO_NAME)) this.#infoText(option, NBD_INFO_NAME, found.name)
    if (wanted.includes(NBD_INFO_DESCRIPTION) && info.description !== undefined) {
      this.#infoText(option, NBD_INFO_DESCRIPTION, info.description)
    }
    if (wanted.includes(NBD_INFO_BLOCK_SIZE)) {
      this.#reply(option, NBD_REP_INFO, encodeInfoBlockSize(info.blockSize))
    }
    return found.name
  }

  #infoText(option: number, type: number, text: string): void {
    const bytes = encodeText(text, 'export information')
    this.#reply(option, NBD_REP_INFO, new PayloadWriter().u16(type).bytes(bytes).finish())
  }

  #list(): void {
    if (this.#exports.size > EXPORTS_LISTED_MAX) {
      this.#refuse(NBD_OPT_LIST, NBD_REP_ERR_TOO_BIG, 'too many exports to list')
      return
    }
    for (const [name, info] of this.#exports) {
      if (info.tlsOnly && this.#hideTlsOnly) continue
      const writer = new PayloadWriter().sizedText(name, 'export name')
      if (info.description) writer.bytes(encodeText(info.description, 'export description'))
      this.#reply(NBD_OPT_LIST, NBD_REP_SERVER, writer.finish())
    }
    this.#reply(NBD_OPT_LIST, NBD_REP_ACK)
  }

  #metaContext(option: number, data: Uint8Array): void {
    const isSet = option === NBD_OPT_SET_META_CONTEXT
    // "replaces all previously-set metadata contexts (including when this command fails)"
    if (isSet) this.#contexts = undefined
    if (isSet && !this.#structuredReplies) {
      this.#refuse(option, NBD_REP_ERR_INVALID, 'negotiate structured replies first')
      return
    }
    const request = decodeMetaRequest(data)
    if (request === 'too-many') {
      this.#refuse(option, NBD_REP_ERR_TOO_BIG, 'too many meta context queries')
      return
    }
    const found = this.#find(request.name)
    if ('refusal' in found) {
      this.#refuse(option, found.refusal, found.why)
      return
    }
    const selected = matchContexts(found.info.contexts ?? [], request, isSet)
    if (isSet) this.#contexts = { exportName: found.name, selected }
    for (const { id, name } of selected) {
      const bytes = encodeText(name, 'meta context name')
      const data = new PayloadWriter().u32(isSet ? id : 0).bytes(bytes)
      this.#reply(option, NBD_REP_META_CONTEXT, data.finish())
    }
    this.#reply(option, NBD_REP_ACK)
  }

  #find(asked: string): Found {
    const name = asked === '' && this.#defaultExport !== undefined ? this.#defaultExport : asked
    const info = this.#exports.get(name)
    if (!info) return { refusal: NBD_REP_ERR_UNKNOWN, why: 'there is no export of this name' }
    if (info.tlsOnly && this.#hideTlsOnly) {
      return { refusal: NBD_REP_ERR_TLS_REQD, why: 'this export requires TLS' }
    }
    return { name, info }
  }

  #transmissionFlags(info: ExportInfo): number {
    const flags = info.flags | NBD_FLAG_HAS_FLAGS
    return this.#structuredReplies ? flags : flags & ~NBD_FLAG_SEND_DF
  }

  #refuse(option: number, type: number, why: string): void {
    this.#reply(option, type, encodeText(why, 'error message'))
  }
}

/**
 * Contexts that match the queries. A query that ends in its namespace's colon is a wildcard when
 * listing and selects nothing when setting; no query at all lists everything and sets nothing.
 */
function matchContexts(
  offered: readonly string[],
  { queries }: MetaRequest,
  isSet: boolean,
): MetaContext[] {
  const matches = (name: string): boolean => {
    if (queries.includes(name)) return true
    if (isSet) return false
    const namespace = name.slice(0, name.indexOf(':') + 1)
    return queries.length === 0 || queries.includes(namespace)
  }
  return offered.map((name, index) => ({ id: index + 1, name })).filter(({ name }) => matches(name))
}
