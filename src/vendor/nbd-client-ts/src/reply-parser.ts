// Streaming decoder of the server's side of the transmission phase: simple replies and structured
// reply chunks, cut anywhere. Read data goes straight from the fed bytes into the request's
// destination, copied once; everything else passes through a small scratch buffer, so that no
// length a server states makes us allocate. After the first ProtocolError the parser stays broken.

import { NBD_CMD_BLOCK_STATUS, NBD_CMD_READ, NBD_REPLY_FLAG_DONE } from './constants.ts'
import { ProtocolError } from './errors.ts'
import { InFlight } from './in-flight.ts'
import type { MetaContext } from './options.ts'
import {
  type ChunkHeader,
  decodeErrorChunk,
  ERROR_CHUNK_MAX,
  extentCountOf,
  firstPartOf,
} from './reply-chunks.ts'
import type { Reply, ReplyExtent, ReplyProgress, ReplyRequest } from './reply-progress.ts'
import * as wire from './wire.ts'

const MAGIC_SIZE = 4

/** What the scratch buffer is being filled with; 'data' bypasses it. */
type Part =
  | 'magic'
  | 'simple'
  | 'chunk'
  | 'offset'
  | 'hole'
  | 'error'
  | 'context'
  | 'extent'
  | 'data'

export interface ReplyParserOptions<R extends ReplyRequest> {
  readonly structuredReplies: boolean
  /** The contexts selected in the handshake: each must be in every block status reply. */
  readonly contexts: readonly MetaContext[]
  /** Called with each finished reply; it may call expect(). */
  readonly onReply: (request: R, reply: Reply) => void
}

/** Matches replies to requests and checks both against the rules. */
export class ReplyParser<R extends ReplyRequest> {
  readonly #structuredReplies: boolean
  readonly #contexts: readonly MetaContext[]
  readonly #onReply: (request: R, reply: Reply) => void
  readonly #inFlight = new InFlight<R>()
  readonly #scratch = new Uint8Array(ERROR_CHUNK_MAX)
  readonly #view = new DataView(this.#scratch.buffer)
  #part: Part = 'magic'
  #filled = 0
  #wanted = MAGIC_SIZE
  /** The request that the current message belongs to, and facts of the current chunk. */
  #current: ReplyProgress<R> | undefined
  #chunk: ChunkHeader = { type: 0, payload: 0, isDone: false }
  /** Where in the destination the next data byte goes, and how many are to come. */
  #dataAt = 0
  #dataLeft = 0
  #extents: ReplyExtent[] = []
  #extentsLeft = 0
  #covered = 0
  #failure: ProtocolError | undefined

  constructor({ structuredReplies, contexts, onReply }: ReplyParserOptions<R>) {
    this.#structuredReplies = structuredReplies
    this.#contexts = contexts
    this.#onReply = onReply
  }

  /** Requests without a finished reply. */
  get inFlightCount(): number {
    return this.#inFlight.count
  }

  /** The requests without a finished reply, the oldest first. */
  inFlight(): IterableIterator<R> {
    return this.#inFlight.requests()
  }

  /** Announces a request before it is sent. Its cookie must be unused, its high half below 2^21. */
  expect(request: R): void {
    this.#inFlight.add(request)
  }

  /** Takes bytes of the server. Throws ProtocolError, and then again at every call. */
  feed(bytes: Uint8Array): void {
    if (this.#failure) throw this.#failure
    try {
      for (let at = 0; at < bytes.length; ) {
        at += this.#part === 'data' ? this.#storeData(bytes, at) : this.#fillScratch(bytes, at)
      }
    } catch (error) {
      if (error instanceof ProtocolError) this.#failure = error
      throw error
    }
  }

  /** Says that no more bytes come. Throws ProtocolError if the server owes some. */
  end(): void {
    if (this.#failure) throw this.#failure
    if (this.#inFlight.count === 0 && this.#filled === 0 && this.#part === 'magic') return
    const received = `the end with ${this.#inFlight.count} requests in flight`
    throw new ProtocolError('replies', 'one to each request', received)
  }

  #fillScratch(bytes: Uint8Array, at: number): number {
    const length = Math.min(this.#wanted - this.#filled, bytes.length - at)
    this.#scratch.set(bytes.subarray(at, at + length), this.#filled)
    this.#filled += length
    if (this.#filled === this.#wanted) this.#takePart()
    return length
  }

  #storeData(bytes: Uint8Array, at: number): number {
    const length = Math.min(this.#dataLeft, bytes.length - at)
    const { destination } = this.#inProgress().request
    destination!.set(bytes.subarray(at, at + length), this.#dataAt)
    this.#dataAt += length
    this.#dataLeft -= length
    if (this.#dataLeft === 0) this.#endChunk()
    return length
  }

  #takePart(): void {
    switch (this.#part) {
      case 'magic':
        this.#takeMagic()
        break
      case 'simple':
        this.#takeSimple()
        break
      case 'chunk':
        this.#takeChunk()
        break
      case 'offset':
        this.#takeOffsetData()
        break
      case 'hole':
        this.#takeHole()
        break
      case 'error':
        this.#takeError()
        break
      case 'context':
        this.#takeContext()
        break
      case 'extent':
        this.#takeExtent()
        break
    }
  }

  /** Asks for the next part: `size` bytes at the front of the scratch buffer. */
  #want(part: Part, size: number): void {
    this.#part = part
    this.#filled = 0
    this.#wanted = size
  }

  #takeMagic(): void {
    // The header continues behind the magic, which stays where it is.
    if (wire.isSimpleReplyMagic(this.#view, 0)) {
      this.#part = 'simple'
      this.#wanted = wire.SIMPLE_REPLY_SIZE
    } else if (wire.isStructuredReplyMagic(this.#view, 0) && this.#structuredReplies) {
      this.#part = 'chunk'
      this.#wanted = wire.STRUCTURED_REPLY_SIZE
    } else {
      const expected = this.#structuredReplies ? 'a reply' : 'a simple reply'
      const received = `0x${this.#view.getUint32(0).toString(16)}`
      throw new ProtocolError('reply magic', expected, received)
    }
  }

  #takeSimple(): void {
    const progress = this.#find(wire.SIMPLE_REPLY_COOKIE_HIGH_AT)
    const error = this.#view.getUint32(wire.SIMPLE_REPLY_ERROR_AT)
    const { command, offset, length } = progress.request
    const isRead = command === NBD_CMD_READ
    if (progress.isStructured || (this.#structuredReplies && isRead)) {
      throw new ProtocolError('reply', 'a structured reply', 'a simple reply')
    }
    if (command === NBD_CMD_BLOCK_STATUS && error === 0) {
      throw new ProtocolError('reply to block status', 'extents', 'a simple reply')
    }
    this.#chunk = { type: 0, payload: 0, isDone: true }
    if (error !== 0) progress.addError(error, '')
    if (error !== 0 || !isRead) {
      this.#endChunk()
      return
    }
    progress.addContent(offset, length)
    this.#startData(0, length)
  }

  #takeChunk(): void {
    const flags = this.#view.getUint16(wire.STRUCTURED_REPLY_FLAGS_AT)
    this.#chunk = {
      type: this.#view.getUint16(wire.STRUCTURED_REPLY_TYPE_AT),
      payload: this.#view.getUint32(wire.STRUCTURED_REPLY_LENGTH_AT),
      isDone: (flags & NBD_REPLY_FLAG_DONE) !== 0,
    }
    const progress = this.#find(wire.STRUCTURED_REPLY_COOKIE_HIGH_AT)
    progress.isStructured = true
    const part = firstPartOf(this.#chunk, progress.request)
    if (part === 'none') this.#endChunk()
    else this.#want(part, this.#sizeOf(part))
  }

  #sizeOf(part: 'offset' | 'hole' | 'error' | 'context'): number {
    if (part === 'offset') return wire.OFFSET_DATA_PREFIX_SIZE
    return part === 'context' ? wire.BLOCK_STATUS_PREFIX_SIZE : this.#chunk.payload
  }

  #takeOffsetData(): void {
    const progress = this.#inProgress()
    const offset = wire.getU64(this.#view, 0)
    const length = this.#chunk.payload - wire.OFFSET_DATA_PREFIX_SIZE
    progress.addContent(offset, length)
    this.#startData(offset - progress.request.offset, length)
  }

  #takeHole(): void {
    const progress = this.#inProgress()
    const offset = wire.getU64(this.#view, 0)
    const length = this.#view.getUint32(8)
    if (length === 0) throw new ProtocolError('hole', 'a length', '0')
    progress.addContent(offset, length)
    const at = offset - progress.request.offset
    progress.request.destination!.fill(0, at, at + length)
    this.#endChunk()
  }

  #takeError(): void {
    const { error, message, offset } = decodeErrorChunk(this.#chunk, this.#scratch)
    this.#inProgress().addError(error, message, offset)
    this.#endChunk()
  }

  #takeContext(): void {
    const id = this.#view.getUint32(0)
    if (!this.#contexts.some(context => context.id === id)) {
      throw new ProtocolError('block status', 'a context that was selected', `id ${id}`)
    }
    this.#extents = this.#inProgress().addContext(id)
    this.#extentsLeft = extentCountOf(this.#chunk)
    this.#covered = 0
    this.#want('extent', wire.EXTENT_SIZE)
  }

  #takeExtent(): void {
    const length = this.#view.getUint32(0)
    this.#extentsLeft--
    this.#inProgress().checkExtent(length, this.#covered, this.#extentsLeft === 0)
    this.#covered += length
    this.#extents.push({ length, flags: this.#view.getUint32(4) })
    if (this.#extentsLeft === 0) this.#endChunk()
    else this.#want('extent', wire.EXTENT_SIZE)
  }

  #startData(at: number, length: number): void {
    this.#part = 'data'
    this.#dataAt = at
    this.#dataLeft = length
  }

  #endChunk(): void {
    this.#want('magic', MAGIC_SIZE)
    const progress = this.#inProgress()
    this.#current = undefined
    if (!this.#chunk.isDone) return
    const { request } = progress
    const reply = progress.finish(this.#contexts)
    this.#inFlight.remove(request)
    this.#onReply(request, reply)
  }

  #find(cookieAt: number): ReplyProgress<R> {
    this.#current = this.#inFlight.find(this.#view, cookieAt)
    return this.#current
  }

  #inProgress(): ReplyProgress<R> {
    if (!this.#current) throw new Error('reply parser: no current request')
    return this.#current
  }
}
