/**
 * One client in the transmission phase: takes requests off the socket and hands them to the device. Lives in the data thread.
 *
 * Bytes arrive in one receive buffer. A small write's data is copied from there into its slot; the rest of a large one is
 * received straight into it. When requests or slots run out the connection stops receiving until some come back, so a
 * client can never make us hold more than the pool. Ends in one of two ways: `finish` answers what is under way
 * first (NBD_CMD_DISC, shutdown), `abort` drops the answers (dead or lying peer); both let the device finish.
 */
import {
  getU64OrMinusOne,
  isRequestMagic,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  PAYLOAD_MAX,
  REQUEST_COMMAND_AT,
  REQUEST_COOKIE_HIGH_AT,
  REQUEST_COOKIE_LOW_AT,
  REQUEST_FLAGS_AT,
  REQUEST_LENGTH_AT,
  REQUEST_OFFSET_AT,
  REQUEST_SIZE,
} from 'nbd-client-ts'
import type { BlockDevice } from '../block/device.ts'
import { Extents } from '../block/extents.ts'
import { HEADROOM } from '../io/arena.ts'
import type { Engine, EngineSocket, Operation } from '../io/engine.ts'
import type { Memory } from '../io/memory.ts'
import { mapAnonymous, unmap } from '../io/mmap.ts'
import { Replies, type RepliesOwner } from './replies.ts'
import type { ServerRequest, ServerRequestPool } from './server-request.ts'

/** Receive buffer (bytes): thirty-two writes of 4 KiB arrive in one receive. */
const RECEIVE_SIZE = 256 * 1024
/** A write whose data is longer than this is received into its slot, not through the buffer. */
const BUFFERED_WRITE_MAX = 32 * 1024
/** Free tail of the buffer below which its contents move to the front. */
const TAIL_MIN = BUFFERED_WRITE_MAX + REQUEST_SIZE
/** Room for a block status reply's descriptors. */
const EXTENTS_SIZE = 4096

export interface ConnectionOptions {
  readonly structuredReplies: boolean
  /** Id under which base:allocation was agreed, or 0 when it was not. */
  readonly contextId: number
}

export interface ConnectionOwner {
  readonly pool: ServerRequestPool
  /** There was no request or slot for this connection: call `unblock` when there may be. */
  blocked(connection: Connection): void
  /** Counts a request that completed. */
  count(request: ServerRequest): void
  /** Everything is finished and the socket is closed. */
  closed(connection: Connection, reason: string): void
}

export class Connection implements Operation, RepliesOwner {
  readonly #owner: ConnectionOwner
  readonly #device: BlockDevice
  readonly #socket: EngineSocket
  readonly #replies: Replies
  readonly #options: ConnectionOptions
  readonly #buffer: Memory
  readonly #view: DataView
  #start = 0
  #end = 0
  /** A write whose data is being received into its slot, or refused and skipped. */
  #incoming: ServerRequest | undefined
  /** Bytes of its data that are still to come. */
  #missing = 0
  /** Bytes of refused data that are still to be skipped. */
  #skip = 0
  #isReceiving = false
  #isAborted = false
  #isClosing = false
  #inFlight = 0
  #reason: string | undefined

  constructor(
    engine: Engine,
    socket: EngineSocket,
    device: BlockDevice,
    owner: ConnectionOwner,
    options: ConnectionOptions,
  ) {
    this.#owner = owner
    this.#device = device
    this.#options = options
    this.#socket = socket
    this.#replies = new Replies(engine, this.#socket, this, options)
    this.#buffer = mapAnonymous(RECEIVE_SIZE)
    this.#view = new DataView(this.#buffer.bytes.buffer, this.#buffer.bytes.byteOffset)
  }

  /** Begins to serve; `received` are bytes that arrived behind the handshake. */
  start(received: Uint8Array): void {
    if (received.length > RECEIVE_SIZE) {
      this.abort('sent requests during the handshake')
      return
    }
    this.#buffer.bytes.set(received)
    this.#end = received.length
    this.#parse()
  }

  /** There may be requests and slots again. */
  unblock(): void {
    this.#parse()
  }

  /** Takes no more requests, answers those under way, then closes. */
  finish(reason: string): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.#closeWhenDone()
  }

  /** Answers nothing more; closes when the device is done with what it has. */
  abort(reason: string): void {
    this.#reason ??= reason
    this.#isAborted = true
    this.#replies.discard()
    this.#closeWhenDone()
  }

  /** The device completed a request. */
  completed(request: ServerRequest): void {
    this.#inFlight--
    this.#owner.count(request)
    this.#replies.add(request)
    if (this.#reason !== undefined) this.#closeWhenDone()
  }

  sent(request: ServerRequest): void {
    this.#owner.pool.release(request)
    if (this.#reason !== undefined) this.#closeWhenDone()
  }

  sendFailed(): void {
    this.abort('peer is gone')
  }

  settle(result: number): void {
    this.#isReceiving = false
    if (this.#reason !== undefined) {
      this.#closeWhenDone()
    } else if (result <= 0) {
      this.abort(result === 0 ? 'peer closed the connection' : 'connection failed')
    } else if (this.#incoming !== undefined && this.#skip === 0) {
      this.#receivedIntoSlot(result)
    } else {
      this.#end += result
      this.#parse()
    }
  }

  #parse(): void {
    while (this.#reason === undefined && !this.#isReceiving) {
      if (this.#skip > 0 && !this.#skipRefused()) break
      if (this.#end - this.#start < REQUEST_SIZE) break
      if (!isRequestMagic(this.#view, this.#start)) {
        this.abort('sent something that is not a request')
        return
      }
      if (!this.#take()) return
    }
    if (this.#reason === undefined && !this.#isReceiving) this.#receive()
  }

  /** Takes the request at the start of the buffer; false when the connection waits for something. */
  #take(): boolean {
    const view = this.#view
    const at = this.#start
    const command = view.getUint16(at + REQUEST_COMMAND_AT)
    const length = view.getUint32(at + REQUEST_LENGTH_AT)
    if (command === NBD_CMD_DISC) {
      this.finish('client disconnected')
      return false
    }
    const isWrite = command === NBD_CMD_WRITE
    const isTooLong = length > PAYLOAD_MAX && (isWrite || command === NBD_CMD_READ)
    const hasData = this.#end - at - REQUEST_SIZE >= length
    if (isWrite && !hasData && length <= BUFFERED_WRITE_MAX) {
      this.#receive()
      return false
    }
    const request = this.#owner.pool.acquire(this, isTooLong ? 0 : payloadSize(command, length))
    if (request === undefined) {
      this.#owner.blocked(this)
      return false
    }
    const offset = getU64OrMinusOne(view, at + REQUEST_OFFSET_AT)
    request.set(command, view.getUint16(at + REQUEST_FLAGS_AT), offset, length)
    request.cookieHigh = view.getUint32(at + REQUEST_COOKIE_HIGH_AT)
    request.cookieLow = view.getUint32(at + REQUEST_COOKIE_LOW_AT)
    this.#start += REQUEST_SIZE
    if (isTooLong || offset < 0 || !this.#isAgreed(command)) {
      this.#refuse(request, isWrite ? length : 0)
      return true
    }
    if (isWrite) return this.#takeWrite(request)
    this.#submit(request)
    return true
  }

  #takeWrite(request: ServerRequest): boolean {
    const slot = request.slot
    if (slot === undefined) {
      this.#submit(request)
      return true
    }
    const here = Math.min(request.length, this.#end - this.#start)
    slot.bytes.set(this.#buffer.bytes.subarray(this.#start, this.#start + here), HEADROOM)
    this.#start += here
    if (here === request.length) {
      this.#submit(request)
      return true
    }
    this.#incoming = request
    this.#missing = request.length - here
    this.#isReceiving = true
    this.#socket.recv(slot, HEADROOM + here, this.#missing, true, this)
    return false
  }

  #receivedIntoSlot(result: number): void {
    if (result < this.#missing) {
      this.abort('peer closed the connection inside a write')
      return
    }
    const request = this.#incoming!
    this.#incoming = undefined
    this.#submit(request)
    this.#parse()
  }

  #isAgreed(command: number): boolean {
    return command !== NBD_CMD_BLOCK_STATUS || this.#options.contextId !== 0
  }

  #submit(request: ServerRequest): void {
    request.memory = request.slot
    request.memoryOffset = HEADROOM
    if (request.command === NBD_CMD_BLOCK_STATUS) {
      request.extents ??= new Extents()
      request.extents.clear()
    }
    this.#inFlight++
    request.push(request)
    this.#device.submit(request)
  }

  /** Answers EINVAL without asking the device, once the data that came with the request is skipped. */
  #refuse(request: ServerRequest, payload: number): void {
    request.error = NBD_EINVAL
    this.#incoming = request
    this.#skip = payload
    if (payload === 0) this.#answerRefused()
  }

  /** True when all of the refused data has gone by. */
  #skipRefused(): boolean {
    const here = Math.min(this.#skip, this.#end - this.#start)
    this.#start += here
    this.#skip -= here
    if (this.#skip > 0) return false
    this.#answerRefused()
    return true
  }

  #answerRefused(): void {
    const request = this.#incoming!
    this.#incoming = undefined
    this.#owner.count(request)
    this.#replies.add(request)
  }

  #receive(): void {
    if (this.#start === this.#end) {
      this.#start = this.#end = 0
    } else if (RECEIVE_SIZE - this.#end < TAIL_MIN) {
      this.#buffer.bytes.copyWithin(0, this.#start, this.#end)
      this.#end -= this.#start
      this.#start = 0
    }
    this.#isReceiving = true
    this.#socket.recv(this.#buffer, this.#end, RECEIVE_SIZE - this.#end, false, this)
  }

  /** Invariant: the socket is closed only after the device has completed everything of this peer. */
  #closeWhenDone(): void {
    if (this.#isClosing || this.#inFlight > 0) return
    if (!this.#isAborted && !this.#replies.isIdle) return
    this.#isClosing = true
    void this.#socket.close().then(() => {
      if (this.#incoming !== undefined) this.#owner.pool.release(this.#incoming)
      this.#incoming = undefined
      unmap(this.#buffer)
      this.#owner.closed(this, this.#reason!)
    })
  }
}

function payloadSize(command: number, length: number): number {
  if (command === NBD_CMD_READ || command === NBD_CMD_WRITE) return length
  return command === NBD_CMD_BLOCK_STATUS ? EXTENTS_SIZE : 0
}
