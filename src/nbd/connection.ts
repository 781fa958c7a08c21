/**
 * One client in the transmission phase, in the data thread: requests from the receiver go to the
 * device, completed ones to the replies. It ends in one of two ways: `finish` answers what is under
 * way first (NBD_CMD_DISC, shutdown), `abort` drops the answers (a dead or lying peer).
 *
 * Invariant: it is closed only after the device has completed everything of this peer.
 */
import { NBD_CMD_BLOCK_STATUS, NBD_EINVAL } from 'nbd-client-ts'
import type { BlockDevice } from '../block/device.ts'
import { Extents } from '../block/extents.ts'
import { HEADROOM } from '../io/arena.ts'
import type { Engine, EngineSocket } from '../io/engine.ts'
import { Replies, type RepliesOwner } from './replies.ts'
import { RECEIVE_SIZE, type ReceiverOwner, RequestReceiver } from './request-receiver.ts'
import type { PoolShare, ServerRequest, ServerRequestPool } from './server-request.ts'

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

export class Connection implements ReceiverOwner, RepliesOwner {
  readonly #owner: ConnectionOwner
  readonly #device: BlockDevice
  readonly #socket: EngineSocket
  readonly #receiver: RequestReceiver
  readonly #replies: Replies
  readonly #hasContext: boolean
  readonly #share: PoolShare
  #inFlight = 0
  #reason: string | undefined
  #isAborted = false
  #isClosing = false

  constructor(
    engine: Engine,
    socket: EngineSocket,
    device: BlockDevice,
    owner: ConnectionOwner,
    options: ConnectionOptions,
  ) {
    this.#owner = owner
    this.#device = device
    this.#socket = socket
    this.#receiver = new RequestReceiver(socket, this)
    this.#replies = new Replies(engine, socket, this, options)
    this.#hasContext = options.contextId !== 0
    this.#share = owner.pool.createShare()
  }

  /** True when nobody waits for its answers any more. */
  get isAborted(): boolean {
    return this.#isAborted
  }

  /** Begins to serve; `received` are bytes that arrived behind the handshake. */
  start(received: Uint8Array): void {
    if (this.#reason !== undefined) return
    if (received.length > RECEIVE_SIZE) this.abort('sent requests during the handshake')
    else this.#receiver.start(received)
  }

  /** There may be requests and slots again. */
  unblock(): void {
    this.#receiver.resume()
  }

  /** Takes no more requests, answers those under way, then closes. */
  finish(reason: string): void {
    this.#reason ??= reason
    this.#receiver.stop()
    this.#closeWhenDone()
  }

  /** Answers nothing more; closes when the device is done with what it has. */
  abort(reason: string): void {
    this.#isAborted = true
    this.#replies.discard()
    this.finish(reason)
  }

  // What the receiver reports.

  acquire(payloadLength: number): ServerRequest | undefined {
    const request = this.#owner.pool.acquire(this, this.#share, payloadLength)
    if (request === undefined) this.#owner.blocked(this)
    return request
  }

  received(request: ServerRequest): void {
    if (request.command === NBD_CMD_BLOCK_STATUS) {
      if (!this.#hasContext) {
        this.refused(request)
        return
      }
      request.extents ??= new Extents()
      request.extents.clear()
    }
    request.memory = request.slot
    request.memoryOffset = HEADROOM
    this.#inFlight++
    request.push(request)
    this.#device.submit(request)
  }

  refused(request: ServerRequest): void {
    request.error = NBD_EINVAL
    this.#owner.count(request)
    this.#replies.add(request)
  }

  abandoned(request: ServerRequest): void {
    this.#owner.pool.release(request)
  }

  disconnected(): void {
    this.finish('client disconnected')
  }

  failed(reason: string): void {
    this.abort(reason)
  }

  // What the device and the replies report.

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

  #closeWhenDone(): void {
    if (this.#isClosing || this.#inFlight > 0) return
    if (!this.#isAborted && !this.#replies.isIdle) return
    this.#isClosing = true
    void this.#socket.close().then(() => {
      this.#receiver.close()
      this.#owner.closed(this, this.#reason!)
    })
  }
}
