/**
 * Receives and takes apart the replies of a remote device. Bytes arrive in one buffer; the data of
 * a small read is copied from there, the rest of a large one is received straight into the
 * request's memory. One receive is always under way, so that the end of the connection is noticed
 * when nothing else happens. Owns the buffer; the socket belongs to the device.
 */
import {
  BLOCK_STATUS_PREFIX_SIZE,
  EXTENT_SIZE,
  getU64,
  isSimpleReplyMagic,
  isStructuredReplyMagic,
  NBD_CMD_READ,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  OFFSET_DATA_PREFIX_SIZE,
  ProtocolError,
  SIMPLE_REPLY_COOKIE_HIGH_AT,
  SIMPLE_REPLY_ERROR_AT,
  SIMPLE_REPLY_SIZE,
  STRUCTURED_REPLY_COOKIE_HIGH_AT,
  STRUCTURED_REPLY_FLAGS_AT,
  STRUCTURED_REPLY_LENGTH_AT,
  STRUCTURED_REPLY_SIZE,
  STRUCTURED_REPLY_TYPE_AT,
} from 'nbd-client-ts'
import type { EngineSocket, Operation } from '../io/engine.ts'
import type { Memory } from '../io/memory.ts'
import { mapAnonymous, unmap } from '../io/mmap.ts'
import { requestErrno } from './errno.ts'
import { addContent, addError, addExtent, checkComplete, fixedPart } from './remote-chunks.ts'
import type { Piece } from './remote-piece.ts'

/** Receive buffer (bytes): dozens of small reads arrive in one receive. */
const BUFFER_SIZE = 256 * 1024
/** Data still to come that is worth a receive of its own (bytes). */
const STRAIGHT_MIN = 32 * 1024
/** Free tail of the buffer below which its contents move to the front (bytes). */
const TAIL_MIN = 64 * 1024

export interface ReceiverOwner {
  readonly structuredReplies: boolean
  readonly contextId: number | undefined
  readonly blockSize: number
  /** The piece that a cookie stands for. Throws ProtocolError if there is none. */
  find(cookieHigh: number, cookieLow: number): Piece
  /** The whole reply is here; `piece.error` is its outcome. */
  answered(piece: Piece): void
  /** No more replies will come: `reason` says why, as a sentence. */
  ended(reason: string): void
}

export class RemoteReceiver implements Operation {
  readonly #socket: EngineSocket
  readonly #owner: ReceiverOwner
  readonly #memory: Memory = mapAnonymous(BUFFER_SIZE)
  readonly #buffer: Buffer
  readonly #view: DataView
  /** Received and not yet taken: from head to tail. */
  #head = 0
  #tail = 0
  /** What the next bytes are. */
  #part: 'header' | 'content' | 'extents' = 'header'
  #piece: Piece | undefined
  #isLastChunk = false
  /** Of content: where the next byte goes, and bytes to come. Of extents: how many are to come. */
  #at = 0
  #left = 0
  #isStraight = false
  #hasEnded = false

  constructor(socket: EngineSocket, owner: ReceiverOwner) {
    this.#socket = socket
    this.#owner = owner
    const { buffer, byteOffset, length } = this.#memory.bytes
    this.#buffer = Buffer.from(buffer, byteOffset, length)
    this.#view = new DataView(buffer, byteOffset, length)
  }

  start(): void {
    this.#receive()
  }

  /** Takes no more, whatever arrives. */
  stop(): void {
    this.#hasEnded = true
  }

  /** Unmaps the buffer; nothing may be under way. */
  release(): void {
    unmap(this.#memory)
  }

  settle(result: number): void {
    if (this.#hasEnded) return
    const wanted = this.#isStraight ? this.#left : 1
    if (result < wanted) {
      this.#end(result < 0 ? `receiving failed with errno ${-result}` : 'the server hung up')
      return
    }
    try {
      if (this.#isStraight) this.#contentCame(result)
      else this.#tail += result
      while (!this.#hasEnded && this.#take()) {}
    } catch (error) {
      // Only what the server did is the server's fault.
      if (!(error instanceof ProtocolError)) throw error
      this.#end(`the server broke the protocol: ${error.message}`)
    }
    if (!this.#hasEnded) this.#receive()
  }

  #end(reason: string): void {
    this.#hasEnded = true
    this.#owner.ended(reason)
  }

  #receive(): void {
    this.#isStraight = this.#part === 'content' && this.#left >= STRAIGHT_MIN
    if (this.#isStraight) {
      const { memory } = this.#piece!.request
      this.#socket.recv(memory!, this.#at, this.#left, true, this)
      return
    }
    if (this.#head === this.#tail) {
      this.#head = 0
      this.#tail = 0
    } else if (BUFFER_SIZE - this.#tail < TAIL_MIN) {
      this.#buffer.copyWithin(0, this.#head, this.#tail)
      this.#tail -= this.#head
      this.#head = 0
    }
    this.#socket.recv(this.#memory, this.#tail, BUFFER_SIZE - this.#tail, false, this)
  }

  /** Takes the next part off the buffer; false if there is not enough of it yet. */
  #take(): boolean {
    switch (this.#part) {
      case 'header':
        return this.#takeHeader()
      case 'content':
        return this.#takeContent()
      case 'extents':
        return this.#takeExtents()
    }
  }

  #takeHeader(): boolean {
    const available = this.#tail - this.#head
    if (available < SIMPLE_REPLY_SIZE) return false
    if (isSimpleReplyMagic(this.#view, this.#head)) {
      this.#takeSimple()
      return true
    }
    if (!this.#owner.structuredReplies || !isStructuredReplyMagic(this.#view, this.#head)) {
      const received = `0x${this.#view.getUint32(this.#head).toString(16)}`
      throw new ProtocolError('magic of a reply', 'one that was agreed', received)
    }
    return available >= STRUCTURED_REPLY_SIZE && this.#takeChunk(available)
  }

  #takeSimple(): void {
    const at = this.#head
    const cookieAt = at + SIMPLE_REPLY_COOKIE_HIGH_AT
    const piece = this.#findPiece(cookieAt)
    const error = this.#view.getUint32(at + SIMPLE_REPLY_ERROR_AT)
    const { command } = piece.request
    const isRead = command === NBD_CMD_READ
    if (piece.isStructured || (isRead && this.#owner.structuredReplies)) {
      throw new ProtocolError('reply', 'a structured one', 'a simple one')
    }
    this.#head += SIMPLE_REPLY_SIZE
    this.#isLastChunk = true
    if (error !== 0) piece.error = requestErrno(error)
    if (isRead && error === 0) this.#startContent(piece.offset, piece.length)
    else this.#chunkEnds()
  }

  /**
   * Takes the header of a chunk together with the fixed part of its payload; false if that is not
   * here yet.
   */
  #takeChunk(available: number): boolean {
    const at = this.#head
    const type = this.#view.getUint16(at + STRUCTURED_REPLY_TYPE_AT)
    const length = this.#view.getUint32(at + STRUCTURED_REPLY_LENGTH_AT)
    const piece = this.#findPiece(at + STRUCTURED_REPLY_COOKIE_HIGH_AT)
    const fixed = fixedPart(piece, type, length)
    if (available < STRUCTURED_REPLY_SIZE + fixed) return false
    const payload = at + STRUCTURED_REPLY_SIZE
    const flags = this.#view.getUint16(at + STRUCTURED_REPLY_FLAGS_AT)
    this.#head = payload + fixed
    this.#isLastChunk = (flags & NBD_REPLY_FLAG_DONE) !== 0
    piece.isStructured = true
    if (type >= NBD_REPLY_TYPE_FLAG_ERROR) {
      addError(piece, type, this.#view, payload, length)
      this.#chunkEnds()
    } else if (type === NBD_REPLY_TYPE_OFFSET_DATA) {
      this.#startContent(getU64(this.#view, payload), length - OFFSET_DATA_PREFIX_SIZE)
    } else if (type === NBD_REPLY_TYPE_OFFSET_HOLE) {
      this.#takeHole(getU64(this.#view, payload), this.#view.getUint32(payload + 8))
    } else if (type === NBD_REPLY_TYPE_BLOCK_STATUS) {
      this.#startExtents(this.#view.getUint32(payload), length)
    } else {
      if (!this.#isLastChunk) throw new ProtocolError('empty chunk', 'the flag DONE', 'none')
      this.#chunkEnds()
    }
    return true
  }

  #findPiece(cookieAt: number): Piece {
    const high = this.#view.getUint32(cookieAt)
    this.#piece = this.#owner.find(high, this.#view.getUint32(cookieAt + 4))
    return this.#piece
  }

  #startContent(offset: number, length: number): void {
    const piece = this.#piece!
    addContent(piece, offset, length)
    this.#part = 'content'
    this.#at = piece.memoryAt(offset)
    this.#left = length
  }

  #takeContent(): boolean {
    const length = Math.min(this.#left, this.#tail - this.#head)
    if (length === 0) return false
    const { memory } = this.#piece!.request
    this.#buffer.copy(memory!.bytes, this.#at, this.#head, this.#head + length)
    this.#head += length
    this.#contentCame(length)
    return true
  }

  #contentCame(length: number): void {
    this.#at += length
    this.#left -= length
    if (this.#left === 0) this.#chunkEnds()
  }

  #takeHole(offset: number, length: number): void {
    const piece = this.#piece!
    addContent(piece, offset, length)
    const at = piece.memoryAt(offset)
    piece.request.memory!.bytes.fill(0, at, at + length)
    this.#chunkEnds()
  }

  #startExtents(contextId: number, length: number): void {
    const piece = this.#piece!
    if (contextId !== this.#owner.contextId) {
      throw new ProtocolError('block status', 'the context that was agreed', `id ${contextId}`)
    }
    if (piece.hasExtents) throw new ProtocolError('block status', 'one chunk', 'another')
    piece.hasExtents = true
    this.#part = 'extents'
    this.#left = (length - BLOCK_STATUS_PREFIX_SIZE) / EXTENT_SIZE
  }

  #takeExtents(): boolean {
    if (this.#tail - this.#head < EXTENT_SIZE) return false
    const length = this.#view.getUint32(this.#head)
    const flags = this.#view.getUint32(this.#head + 4)
    this.#head += EXTENT_SIZE
    this.#left--
    addExtent(this.#piece!, length, flags, this.#left === 0, this.#owner.blockSize)
    if (this.#left === 0) this.#chunkEnds()
    return true
  }

  #chunkEnds(): void {
    const piece = this.#piece!
    this.#part = 'header'
    this.#piece = undefined
    if (!this.#isLastChunk) return
    checkComplete(piece)
    this.#owner.answered(piece)
  }
}
