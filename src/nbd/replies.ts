/**
 * Replies of one connection on their way out. All that completed in a turn leave in one send; what
 * completes while a send is under way leaves with the next. A read's header sits directly in front
 * of its data, so the two are one entry. Owns each request from `add` until its reply has left;
 * then hands it back through `sent`.
 */
import {
  BLOCK_STATUS_PREFIX_SIZE,
  EXTENT_SIZE,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOMEM,
  NBD_ENOSPC,
  NBD_ENOTSUP,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_ESHUTDOWN,
  NBD_REPLY_FLAG_DONE,
  putBlockStatus,
  putErrorChunk,
  putExtent,
  putOffsetData,
  putSimpleReply,
  SIMPLE_REPLY_SIZE,
  STRUCTURED_REPLY_SIZE,
} from 'nbd-client-ts'
import { HEADROOM } from '../io/arena.ts'
import type { Engine, EngineSocket, Gather, Operation, Task } from '../io/engine.ts'
import type { ServerRequest } from './server-request.ts'

/** Replies in one send. */
export const REPLIES_PER_SEND_MAX = 256
/** Descriptors in one block status reply: they fit the smallest slot. */
export const EXTENTS_PER_REPLY_MAX = 512

const OFFSET_DATA_SIZE = STRUCTURED_REPLY_SIZE + 8
const ERROR_CHUNK_SIZE = STRUCTURED_REPLY_SIZE + 6
const BLOCK_STATUS_SIZE = STRUCTURED_REPLY_SIZE + BLOCK_STATUS_PREFIX_SIZE

const WIRE_ERRORS = new Set([
  NBD_EPERM,
  NBD_EIO,
  NBD_ENOMEM,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EOVERFLOW,
  NBD_ENOTSUP,
  NBD_ESHUTDOWN,
])

/** The protocol knows a few errors only; every other is reported as EIO (EROFS as EPERM). */
function wireError(errno: number): number {
  if (WIRE_ERRORS.has(errno)) return errno
  return errno === 30 ? NBD_EPERM : NBD_EIO
}

export interface RepliesOwner {
  /** The reply has left, or never will: the request is the owner's again. */
  sent(request: ServerRequest): void
  /** Sending failed with this negative errno; `sent` has been called for everything. */
  sendFailed(errno: number): void
}

export class Replies implements Operation, Task {
  readonly #engine: Engine
  readonly #socket: EngineSocket
  readonly #owner: RepliesOwner
  readonly #isStructured: boolean
  readonly #contextId: number
  readonly #gather: Gather
  #queued: ServerRequest[] = []
  #sending: ServerRequest[] = []
  #isSending = false
  #isScheduled = false
  #isDiscarding = false

  constructor(
    engine: Engine,
    socket: EngineSocket,
    owner: RepliesOwner,
    options: { structuredReplies: boolean; contextId: number },
  ) {
    this.#engine = engine
    this.#socket = socket
    this.#owner = owner
    this.#isStructured = options.structuredReplies
    this.#contextId = options.contextId
    this.#gather = engine.createGather(REPLIES_PER_SEND_MAX)
  }

  /** True when nothing waits and nothing is being sent. */
  get isIdle(): boolean {
    return this.#queued.length === 0 && !this.#isSending
  }

  add(request: ServerRequest): void {
    if (this.#isDiscarding) {
      this.#owner.sent(request)
      return
    }
    this.#queued.push(request)
    this.#schedule()
  }

  /** The peer is gone: gives back everything that is not being sent, now and from now on. */
  discard(): void {
    this.#isDiscarding = true
    const queued = this.#queued
    this.#queued = []
    for (const request of queued) this.#owner.sent(request)
  }

  run(): void {
    this.#isScheduled = false
    if (this.#isSending || this.#queued.length === 0) return
    const batch = this.#queued
    if (batch.length > REPLIES_PER_SEND_MAX) {
      this.#queued = batch.splice(REPLIES_PER_SEND_MAX)
    } else {
      this.#queued = this.#sending
    }
    this.#sending = batch
    this.#isSending = true
    this.#gather.clear()
    for (let index = 0; index < batch.length; index++) this.#put(batch[index]!)
    this.#socket.send(this.#gather, this)
  }

  settle(result: number): void {
    const batch = this.#sending
    // Before the owner hears of the last one, which may be what it waits for.
    this.#isSending = false
    for (let index = 0; index < batch.length; index++) this.#owner.sent(batch[index]!)
    batch.length = 0
    if (result < 0) {
      this.discard()
      this.#owner.sendFailed(result)
    } else if (this.#queued.length > 0) {
      this.#schedule()
    }
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isSending) return
    this.#isScheduled = true
    this.#engine.atTurnEnd(this)
  }

  #put(request: ServerRequest): void {
    if (request.error !== 0) this.#putError(request)
    else if (request.command === NBD_CMD_READ) this.#putData(request)
    else if (request.command === NBD_CMD_BLOCK_STATUS) this.#putExtents(request)
    else this.#putSimple(request, 0)
  }

  #putSimple(request: ServerRequest, error: number): void {
    const { headerView, headerAt, cookieHigh, cookieLow } = request
    putSimpleReply(headerView, headerAt, error, cookieHigh, cookieLow)
    this.#gather.push(request.headers, headerAt, SIMPLE_REPLY_SIZE)
  }

  /**
   * Once structured replies are agreed, a read must be answered by one (NBD proto, Structured
   * replies).
   */
  #putError(request: ServerRequest): void {
    const error = wireError(request.error)
    const { command, headerView, headerAt, cookieHigh, cookieLow } = request
    if (!this.#isStructured || (command !== NBD_CMD_READ && command !== NBD_CMD_BLOCK_STATUS)) {
      this.#putSimple(request, error)
      return
    }
    putErrorChunk(headerView, headerAt, NBD_REPLY_FLAG_DONE, cookieHigh, cookieLow, error)
    this.#gather.push(request.headers, headerAt, ERROR_CHUNK_SIZE)
  }

  #putData(request: ServerRequest): void {
    const slot = request.slot!
    const { cookieHigh, cookieLow, offset, length } = request
    if (this.#isStructured) {
      const at = HEADROOM - OFFSET_DATA_SIZE
      const flags = NBD_REPLY_FLAG_DONE
      putOffsetData(slot.header, at, flags, cookieHigh, cookieLow, offset, length)
      this.#gather.push(slot, at, OFFSET_DATA_SIZE + length)
    } else {
      const at = HEADROOM - SIMPLE_REPLY_SIZE
      putSimpleReply(slot.header, at, 0, cookieHigh, cookieLow)
      this.#gather.push(slot, at, SIMPLE_REPLY_SIZE + length)
    }
  }

  #putExtents(request: ServerRequest): void {
    const slot = request.slot!
    const extents = request.extents!
    const isOne = (request.flags & NBD_CMD_FLAG_REQ_ONE) !== 0
    const count = isOne ? 1 : Math.min(extents.count, EXTENTS_PER_REPLY_MAX)
    const view = new DataView(slot.bytes.buffer, slot.bytes.byteOffset + HEADROOM)
    for (let index = 0; index < count; index++) {
      putExtent(view, index * EXTENT_SIZE, extents.length(index), extents.flags(index))
    }
    const { cookieHigh, cookieLow } = request
    const at = HEADROOM - BLOCK_STATUS_SIZE
    const flags = NBD_REPLY_FLAG_DONE
    putBlockStatus(slot.header, at, flags, cookieHigh, cookieLow, this.#contextId, count)
    this.#gather.push(slot, at, BLOCK_STATUS_SIZE + count * EXTENT_SIZE)
  }
}
