/**
 * Takes requests off one client's socket. Bytes arrive in one receive buffer: a small write's data
 * is copied from there into its slot, and the rest of a large one is received straight into it.
 * When requests or slots run out it stops receiving until some come back, so a client can never
 * make us hold more than the pool. Requests it gives to its owner belong to the owner.
 */
import {
  getU64OrMinusOne,
  isRequestMagic,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  PAYLOAD_MAX,
  REQUEST_COMMAND_AT,
  REQUEST_COOKIE_HIGH_AT,
  REQUEST_COOKIE_LOW_AT,
  REQUEST_FLAGS_AT,
  REQUEST_LENGTH_AT,
  REQUEST_OFFSET_AT,
  REQUEST_SIZE,
} from 'nbd-client-ts'
import { HEADROOM } from '../io/arena.ts'
import type { EngineSocket, Operation } from '../io/engine.ts'
import type { Memory } from '../io/memory.ts'
import { mapAnonymous, unmap } from '../io/mmap.ts'
import type { ServerRequest } from './server-request.ts'

/** Receive buffer (bytes): thirty-two writes of 4 KiB arrive in one receive. */
export const RECEIVE_SIZE = 256 * 1024
/** A write whose data is longer than this is received into its slot, not through the buffer. */
const BUFFERED_WRITE_MAX = 32 * 1024
/** Free tail of the buffer below which its contents move to the front. */
const TAIL_MIN = BUFFERED_WRITE_MAX + REQUEST_SIZE
/** Room for a block status reply's descriptors. */
const EXTENTS_SIZE = 4096

export interface ReceiverOwner {
  /**
   * A request with room for so much data, or undefined: then `resume` is called when there may be.
   */
  acquire(payloadLength: number): ServerRequest | undefined
  /** A whole request, with its data in its slot. */
  received(request: ServerRequest): void
  /** A request that no device can be asked, now that all of its data has gone by. */
  refused(request: ServerRequest): void
  /** Nothing was kept of a request that the peer did not finish. */
  abandoned(request: ServerRequest): void
  /** NBD_CMD_DISC. */
  disconnected(): void
  /** The peer is gone or breaks the protocol. */
  failed(reason: string): void
}

export class RequestReceiver implements Operation {
  readonly #socket: EngineSocket
  readonly #owner: ReceiverOwner
  readonly #buffer: Memory = mapAnonymous(RECEIVE_SIZE)
  readonly #view: DataView
  #start = 0
  #end = 0
  /** A write whose data is being received into its slot, or a refused one whose data is skipped. */
  #incoming: ServerRequest | undefined
  /** Bytes of its data that are still to come into its slot. */
  #missing = 0
  /** Bytes of refused data that are still to be skipped. */
  #skip = 0
  #isReceiving = false
  #isStopped = false

  constructor(socket: EngineSocket, owner: ReceiverOwner) {
    this.#socket = socket
    this.#owner = owner
    this.#view = new DataView(this.#buffer.bytes.buffer, this.#buffer.bytes.byteOffset)
  }

  /** Begins; `received` are bytes that arrived behind the handshake, at most RECEIVE_SIZE. */
  start(received: Uint8Array): void {
    this.#buffer.bytes.set(received)
    this.#end = received.length
    this.resume()
  }

  /** Takes no more requests. One whose data is under way is abandoned when its receive settles. */
  stop(): void {
    this.#isStopped = true
  }

  /** After the socket is closed: gives back what it still holds. */
  close(): void {
    if (this.#incoming !== undefined) this.#owner.abandoned(this.#incoming)
    this.#incoming = undefined
    unmap(this.#buffer)
  }

  /** Takes what is in the buffer, then receives on. */
  resume(): void {
    while (!this.#isStopped && !this.#isReceiving) {
      if (this.#skip > 0 && !this.#skipRefused()) break
      if (this.#end - this.#start < REQUEST_SIZE) break
      if (!isRequestMagic(this.#view, this.#start)) {
        this.#owner.failed('sent something that is not a request')
        return
      }
      if (!this.#take()) return
    }
    if (!this.#isStopped && !this.#isReceiving) this.#receive()
  }

  settle(result: number): void {
    this.#isReceiving = false
    if (this.#isStopped) return
    if (result <= 0) {
      this.#owner.failed(result === 0 ? 'peer closed the connection' : 'connection failed')
    } else if (this.#missing > 0) {
      this.#receivedIntoSlot(result)
    } else {
      this.#end += result
      this.resume()
    }
  }

  /** Takes the request at the start of the buffer; false when something is to be waited for. */
  #take(): boolean {
    const view = this.#view
    const at = this.#start
    const command = view.getUint16(at + REQUEST_COMMAND_AT)
    const length = view.getUint32(at + REQUEST_LENGTH_AT)
    if (command === NBD_CMD_DISC) {
      this.#owner.disconnected()
      return false
    }
    const isWrite = command === NBD_CMD_WRITE
    const isTooLong = length > PAYLOAD_MAX && (isWrite || command === NBD_CMD_READ)
    const hasData = this.#end - at - REQUEST_SIZE >= length
    if (isWrite && !hasData && length <= BUFFERED_WRITE_MAX) {
      this.#receive()
      return false
    }
    const request = this.#owner.acquire(isTooLong ? 0 : payloadSize(command, length))
    if (request === undefined) return false
    const offset = getU64OrMinusOne(view, at + REQUEST_OFFSET_AT)
    request.set(command, view.getUint16(at + REQUEST_FLAGS_AT), offset, length)
    request.cookieHigh = view.getUint32(at + REQUEST_COOKIE_HIGH_AT)
    request.cookieLow = view.getUint32(at + REQUEST_COOKIE_LOW_AT)
    this.#start += REQUEST_SIZE
    if (isTooLong || offset < 0) {
      this.#refuse(request, isWrite ? length : 0)
      return true
    }
    if (isWrite && request.slot !== undefined) return this.#takeData(request, request.slot)
    this.#owner.received(request)
    return true
  }

  #takeData(request: ServerRequest, slot: Memory): boolean {
    const here = Math.min(request.length, this.#end - this.#start)
    const bytes = this.#buffer.bytes.subarray(this.#start, this.#start + here)
    slot.bytes.set(bytes, HEADROOM)
    this.#start += here
    if (here === request.length) {
      this.#owner.received(request)
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
      this.#owner.failed('peer closed the connection inside a write')
      return
    }
    const request = this.#incoming!
    this.#incoming = undefined
    this.#missing = 0
    this.#owner.received(request)
    this.resume()
  }

  /** Answers without asking the device, once the data that came with the request is skipped. */
  #refuse(request: ServerRequest, payload: number): void {
    this.#skip = payload
    if (payload > 0) this.#incoming = request
    else this.#owner.refused(request)
  }

  /** True when all of the refused data has gone by. */
  #skipRefused(): boolean {
    const here = Math.min(this.#skip, this.#end - this.#start)
    this.#start += here
    this.#skip -= here
    if (this.#skip > 0) return false
    const request = this.#incoming!
    this.#incoming = undefined
    this.#owner.refused(request)
    return true
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
}

function payloadSize(command: number, length: number): number {
  if (command === NBD_CMD_READ || command === NBD_CMD_WRITE) return length
  return command === NBD_CMD_BLOCK_STATUS ? EXTENTS_SIZE : 0
}
