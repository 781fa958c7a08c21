// Which options a client sends, in order, and what it makes of the replies. It knows nothing of
// framing, TLS or states. Everything a server sends is checked here before it becomes a result;
// a broken rule throws ProtocolError, a refusal throws NbdError.

import {
  NBD_DEFAULT_MAXIMUM_PAYLOAD,
  NBD_DEFAULT_MINIMUM_BLOCK,
  NBD_DEFAULT_PREFERRED_BLOCK,
  NBD_FLAG_HAS_FLAGS,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_DESCRIPTION,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_UNSUP,
  NBD_REP_FLAG_ERROR,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from './constants.ts'
import { NbdError, ProtocolError } from './errors.ts'
import { EXPORTS_LISTED_MAX, META_CONTEXTS_MAX, REPLIES_PER_OPTION_MAX } from './limits.ts'
import {
  type BlockSize,
  blockSizeFault,
  encodeInfoRequest,
  encodeMetaRequest,
  type MetaContext,
} from './options.ts'
import { encodeText, messageSuffix, PayloadReader } from './payload.ts'

/** What the transmission phase needs to know. */
export interface ClientHandshakeResult {
  /** As asked for; `canonicalName` is what the server calls it, if it said so. */
  readonly exportName: string
  readonly canonicalName: string | undefined
  readonly description: string | undefined
  /** Bytes. */
  readonly size: number
  /** Transmission flags (NBD_FLAG_*). */
  readonly flags: number
  /** The server's, or the specification's defaults. */
  readonly blockSize: BlockSize
  readonly structuredReplies: boolean
  readonly contexts: readonly MetaContext[]
}

/** One entry of NBD_OPT_LIST; the description is '' if there is none. */
export interface ListedExport {
  readonly name: string
  readonly description: string
}

/** What the client wants, without defaults. */
export interface ClientPlan {
  readonly goal: 'go' | 'info' | 'list'
  readonly exportName: string
  readonly structuredReplies: boolean
  readonly contexts: readonly string[]
}

const DEFAULT_BLOCK_SIZE: BlockSize = {
  minimum: NBD_DEFAULT_MINIMUM_BLOCK,
  preferred: NBD_DEFAULT_PREFERRED_BLOCK,
  maximum: NBD_DEFAULT_MAXIMUM_PAYLOAD,
}

/** The plan of one session and the answers so far. */
export class ClientOptions {
  /** Set by the final reply to NBD_OPT_GO, or by the reply to NBD_OPT_EXPORT_NAME. */
  isTransmission = false
  readonly #plan: ClientPlan
  /** Options still to send, the next one first. */
  #agenda: number[]
  #replies = 0
  #structuredReplies = false
  #contexts: MetaContext[] = []
  #exports: ListedExport[] = []
  #size: number | undefined
  #flags = 0
  #blockSize = DEFAULT_BLOCK_SIZE
  #canonicalName: string | undefined
  #description: string | undefined

  /** Throws RangeError for names and contexts that the protocol cannot carry. */
  constructor(plan: ClientPlan) {
    encodeText(plan.exportName, 'export name')
    for (const context of plan.contexts) encodeText(context, 'meta context')
    if (plan.contexts.length > META_CONTEXTS_MAX) {
      throw new RangeError(`more than ${META_CONTEXTS_MAX} meta contexts`)
    }
    this.#plan = plan
    this.#agenda = agendaOf(plan)
  }

  get result(): ClientHandshakeResult | undefined {
    if (this.#size === undefined) return undefined
    return {
      exportName: this.#plan.exportName,
      canonicalName: this.#canonicalName,
      description: this.#description,
      size: this.#size,
      flags: this.#flags,
      blockSize: this.#blockSize,
      structuredReplies: this.#structuredReplies,
      contexts: this.#contexts,
    }
  }

  get exports(): readonly ListedExport[] | undefined {
    return this.#plan.goal === 'list' ? this.#exports : undefined
  }

  /** Makes the plan one for a server that has NBD_OPT_EXPORT_NAME only; false if it cannot be. */
  useExportNameOnly(): boolean {
    this.#agenda = [NBD_OPT_EXPORT_NAME]
    return this.#plan.goal === 'go'
  }

  /** The next option to send; undefined when all is asked. */
  next(): { option: number; data: Uint8Array } | undefined {
    const option = this.#agenda.shift()
    if (option === undefined) return undefined
    this.#replies = 0
    return { option, data: this.#dataOf(option) }
  }

  /** Takes one reply to `option`; 'final' means that no more replies to it follow. */
  takeReply(option: number, type: number, data: Uint8Array): 'final' | 'more' {
    if (type >= NBD_REP_FLAG_ERROR) {
      this.#takeError(option, type, data)
      return 'final'
    }
    if (type === NBD_REP_ACK) {
      this.#takeAcknowledgement(option)
      return 'final'
    }
    const limit = option === NBD_OPT_LIST ? EXPORTS_LISTED_MAX : REPLIES_PER_OPTION_MAX
    if (++this.#replies > limit) {
      throw new ProtocolError(`replies to option ${option}`, `at most ${limit}`, 'more')
    }
    this.#takeInformation(option, type, data)
    return 'more'
  }

  /** Takes the whole reply to NBD_OPT_EXPORT_NAME, without its padding. */
  takeExportNameReply(data: Uint8Array): void {
    const reader = new PayloadReader(data, 'reply to NBD_OPT_EXPORT_NAME')
    this.#takeSizeAndFlags(reader)
    this.isTransmission = true
  }

  #dataOf(option: number): Uint8Array {
    const { exportName: name, contexts: queries } = this.#plan
    switch (option) {
      case NBD_OPT_EXPORT_NAME:
        return encodeText(name, 'export name')
      case NBD_OPT_SET_META_CONTEXT:
        return encodeMetaRequest({ name, queries })
      case NBD_OPT_GO:
      case NBD_OPT_INFO:
        return encodeInfoRequest({
          name,
          wanted: [NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE],
        })
      default:
        return new Uint8Array()
    }
  }

  /** Refusals that leave something to try change the plan; the others throw NbdError. */
  #takeError(option: number, type: number, data: Uint8Array): void {
    const isFatal = type === NBD_REP_ERR_SHUTDOWN || type === NBD_REP_ERR_TLS_REQD
    if (!isFatal && option === NBD_OPT_STRUCTURED_REPLY) {
      this.#agenda = this.#agenda.filter(later => later !== NBD_OPT_SET_META_CONTEXT)
    } else if (!isFatal && option === NBD_OPT_SET_META_CONTEXT) {
      this.#contexts = []
    } else if (option === NBD_OPT_GO && type === NBD_REP_ERR_UNSUP) {
      this.#forgetInformation()
      this.#agenda = [NBD_OPT_EXPORT_NAME]
    } else {
      const what = option === NBD_OPT_LIST ? 'list' : `export "${this.#plan.exportName}"`
      throw new NbdError(`server refuses ${what}${messageSuffix(data)}`, type)
    }
  }

  #takeAcknowledgement(option: number): void {
    if (option === NBD_OPT_STRUCTURED_REPLY) this.#structuredReplies = true
    if (option !== NBD_OPT_GO && option !== NBD_OPT_INFO) return
    if (this.#size === undefined) {
      throw new ProtocolError('information about the export', 'NBD_INFO_EXPORT', 'NBD_REP_ACK')
    }
    this.isTransmission = option === NBD_OPT_GO
  }

  #takeInformation(option: number, type: number, data: Uint8Array): void {
    const reader = new PayloadReader(data, `reply type ${type} to option ${option}`)
    if (option === NBD_OPT_LIST && type === NBD_REP_SERVER) {
      const name = reader.text(reader.u32())
      this.#exports.push({ name, description: reader.text(reader.remaining) })
    } else if (option === NBD_OPT_SET_META_CONTEXT && type === NBD_REP_META_CONTEXT) {
      this.#takeContext({ id: reader.u32(), name: reader.text(reader.remaining) })
    } else if ((option === NBD_OPT_GO || option === NBD_OPT_INFO) && type === NBD_REP_INFO) {
      this.#takeInfo(reader)
    } else {
      throw new ProtocolError(`reply to option ${option}`, 'a type of that option', `${type}`)
    }
  }

  #takeContext(context: MetaContext): void {
    if (this.#contexts.some(({ id, name }) => id === context.id || name === context.name)) {
      throw new ProtocolError('meta contexts', 'different ids and names', context.name)
    }
    if (this.#contexts.length >= META_CONTEXTS_MAX) {
      throw new ProtocolError('meta contexts', `at most ${META_CONTEXTS_MAX}`, 'more')
    }
    this.#contexts.push(context)
  }

  #takeInfo(reader: PayloadReader): void {
    switch (reader.u16()) {
      case NBD_INFO_EXPORT:
        this.#takeSizeAndFlags(reader)
        break
      case NBD_INFO_NAME:
        this.#canonicalName = reader.text(reader.remaining)
        break
      case NBD_INFO_DESCRIPTION:
        this.#description = reader.text(reader.remaining)
        break
      case NBD_INFO_BLOCK_SIZE:
        this.#takeBlockSize(reader)
        break
      default:
        // "The client MUST ignore information replies it does not understand."
        return
    }
    reader.end()
  }

  /** A size that a number cannot hold is refused by the reader (libnbd CVE-2023-5215). */
  #takeSizeAndFlags(reader: PayloadReader): void {
    this.#size = reader.u64()
    this.#flags = reader.u16()
    if ((this.#flags & NBD_FLAG_HAS_FLAGS) === 0) {
      const received = `0x${this.#flags.toString(16)}`
      throw new ProtocolError('transmission flags', 'NBD_FLAG_HAS_FLAGS', received)
    }
  }

  #takeBlockSize(reader: PayloadReader): void {
    const blockSize = { minimum: reader.u32(), preferred: reader.u32(), maximum: reader.u32() }
    const fault = blockSizeFault(blockSize)
    if (fault) throw new ProtocolError('block size', 'sizes the protocol allows', fault)
    this.#blockSize = blockSize
  }

  #forgetInformation(): void {
    this.#size = undefined
    this.#blockSize = DEFAULT_BLOCK_SIZE
    this.#canonicalName = undefined
    this.#description = undefined
  }
}

function agendaOf({ goal, structuredReplies, contexts }: ClientPlan): number[] {
  if (goal === 'list') return [NBD_OPT_LIST]
  const agenda: number[] = []
  if (structuredReplies) agenda.push(NBD_OPT_STRUCTURED_REPLY)
  if (structuredReplies && contexts.length > 0) agenda.push(NBD_OPT_SET_META_CONTEXT)
  agenda.push(goal === 'go' ? NBD_OPT_GO : NBD_OPT_INFO)
  return agenda
}
