// What has been received for one request, and the rules for what may still come. One object per
// request in flight; the parser drops it with the last chunk. Every broken rule throws
// ProtocolError, because after it nothing the server says can be trusted.

import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
} from './constants.ts'
import { Coverage } from './coverage.ts'
import { ProtocolError } from './errors.ts'
import { ERROR_CHUNKS_MAX } from './limits.ts'
import type { MetaContext } from './options.ts'

/** A request in flight, as far as its reply depends on it. */
export interface ReplyRequest {
  readonly cookieHigh: number
  readonly cookieLow: number
  readonly command: number
  /** Command flags as sent. */
  readonly flags: number
  readonly offset: number
  readonly length: number
  /** Where a read's data goes, `length` bytes; its contents mean nothing unless it succeeds. */
  readonly destination?: Uint8Array
}

/** One block status descriptor; `flags` are NBD_STATE_* for base:allocation. */
export interface ReplyExtent {
  readonly length: number
  readonly flags: number
}

/** The whole reply to one request. */
export interface Reply {
  /** Error value as received; 0 is success, and nothing else is. */
  readonly error: number
  /** The server's words for a human, '' if it has none. */
  readonly message: string
  /** Where it failed, if the server said so. */
  readonly errorOffset: number | undefined
  /** Extents from the request's offset on, by context id; for block status only. */
  readonly extents: ReadonlyMap<number, readonly ReplyExtent[]>
}

const noExtents: ReadonlyMap<number, readonly ReplyExtent[]> = new Map()

/** The reply to one request while it arrives. */
export class ReplyProgress<R extends ReplyRequest> {
  readonly request: R
  /** Whether a structured chunk has come, after which a simple reply must not. */
  isStructured = false
  #error = 0
  #message = ''
  #errorOffset: number | undefined
  #errorOffsets: number[] = []
  #errorChunks = 0
  #contentChunks = 0
  #coverage: Coverage | undefined
  #extents: Map<number, ReplyExtent[]> | undefined

  constructor(request: R) {
    this.request = request
  }

  /** Accepts a range of read content before its data is stored. */
  addContent(offset: number, length: number): void {
    const { request } = this
    const end = request.offset + request.length
    if (offset < request.offset || offset + length > end) {
      const expected = `within offset=${request.offset} length=${request.length}`
      throw new ProtocolError('content of a read', expected, `offset=${offset} length=${length}`)
    }
    this.#contentChunks++
    if (this.#contentChunks > 1 && (request.flags & NBD_CMD_FLAG_DF) !== 0) {
      throw new ProtocolError('reply to a read with NBD_CMD_FLAG_DF', 'one content chunk', 'more')
    }
    if (this.#errorOffsets.some(at => at >= offset && at < offset + length)) {
      throw new ProtocolError('content of a read', 'no data after its error', `offset=${offset}`)
    }
    this.#coverage ??= new Coverage()
    this.#coverage.add(offset, length)
  }

  /** Records an error; the first one is what the request fails with. */
  addError(error: number, message: string, offset?: number): void {
    const { request } = this
    if (error === 0) throw new ProtocolError('error chunk', 'an error', '0')
    if (++this.#errorChunks > ERROR_CHUNKS_MAX) {
      throw new ProtocolError('error chunks of a reply', `at most ${ERROR_CHUNKS_MAX}`, 'more')
    }
    if (offset !== undefined) {
      if (offset < request.offset || offset >= request.offset + request.length) {
        const expected = `within offset=${request.offset} length=${request.length}`
        throw new ProtocolError('offset of an error', expected, `${offset}`)
      }
      if (request.command === NBD_CMD_READ) this.#errorOffsets.push(offset)
    }
    if (this.#error !== 0) return
    this.#error = error
    this.#message = message
    this.#errorOffset = offset
  }

  /** Opens the one block status chunk of a context and returns the list to fill. */
  addContext(id: number): ReplyExtent[] {
    this.#extents ??= new Map()
    if (this.#extents.has(id)) {
      throw new ProtocolError('block status', 'one chunk for each context', `context ${id} again`)
    }
    const extents: ReplyExtent[] = []
    this.#extents.set(id, extents)
    return extents
  }

  /** Checks the extent that follows `covered` bytes; `isLast` if the chunk ends with it. */
  checkExtent(length: number, covered: number, isLast: boolean): void {
    const { request } = this
    if (length === 0) throw new ProtocolError('block status', 'extents with a length', 'length=0')
    const end = covered + length
    const isOne = (request.flags & NBD_CMD_FLAG_REQ_ONE) !== 0
    if (isOne && (!isLast || end > request.length)) {
      const expected = `one extent up to ${request.length} bytes`
      throw new ProtocolError('block status with NBD_CMD_FLAG_REQ_ONE', expected, `${length}`)
    }
    if (!isLast && end >= request.length) {
      const expected = `no extent after ${request.length} bytes`
      throw new ProtocolError('block status', expected, `one after ${end} bytes`)
    }
  }

  /** The finished reply. Throws if it claims a success that it does not deliver. */
  finish(contexts: readonly MetaContext[]): Reply {
    if (this.#error === 0) this.#checkComplete(contexts)
    return {
      error: this.#error,
      message: this.#message,
      errorOffset: this.#errorOffset,
      extents: this.#extents ?? noExtents,
    }
  }

  #checkComplete(contexts: readonly MetaContext[]): void {
    const { command, length } = this.request
    const bytes = this.#coverage?.bytes ?? 0
    if (command === NBD_CMD_READ && bytes !== length) {
      throw new ProtocolError('reply to a read', `${length} bytes`, `${bytes}`)
    }
    const reported = this.#extents?.size ?? 0
    if (command === NBD_CMD_BLOCK_STATUS && reported !== contexts.length) {
      const received = `${reported} of them`
      throw new ProtocolError('block status', `all ${contexts.length} contexts`, received)
    }
  }
}
