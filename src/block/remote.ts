/**
 * The leaf over an NBD connection in the transmission phase. Requests wait in a queue, go out in
 * pieces that the server allows, all of a turn in one send, and come back in any order. The device
 * owns the socket, the headers and the receive buffer; a request's memory is the engine's until its
 * pieces are both sent and answered.
 *
 *   submit -> queue -> (end of turn) pieces -> one gathered send -> replies -> complete
 *
 * Once the connection is lost (end of stream, broken protocol, a request unanswered for too long)
 * it stays lost: the socket is closed such that unsent data is thrown away, and when the engine has
 * let go of everything, every request completes with ESHUTDOWN. Whether the server has carried any
 * of them out is unknown.
 */
import assert from 'node:assert/strict'
import {
  EFFECT_LENGTH_MAX,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  PAYLOAD_MAX,
  ProtocolError,
} from 'nbd-client-ts'
import type { Clock, Timer } from '../io/clock.ts'
import type { Engine, EngineSocket, Task } from '../io/engine.ts'
import { setLinger } from '../io/libc.ts'
import { openStream } from '../tls/tls-socket.ts'
import type { BlockDevice, DeviceInfo } from './device.ts'
import { ENOMEM, ESHUTDOWN } from './errno.ts'
import { deviceInfo, type RemoteOptions, wholeBlocks } from './remote-info.ts'
import { type Piece, PiecePool, type Work, WorkPool } from './remote-piece.ts'
import { type ReceiverOwner, RemoteReceiver } from './remote-receiver.ts'
import { RemoteSender, type SenderOwner } from './remote-sender.ts'
import type { Request } from './request.ts'
import { RequestQueue } from './request-queue.ts'

/** Pieces under way at a time. */
export const REMOTE_IN_FLIGHT_MAX = 128
/** Requests waiting for a piece; more fail with ENOMEM. */
export const REMOTE_QUEUED_MAX = 16384
/** How often, within the timeout, unanswered pieces are looked for. */
const CHECKS_PER_TIMEOUT = 8

/** Opens a device over a connection. Close it to end the connection in order (NBD_CMD_DISC). */
export function openRemote(options: RemoteOptions): RemoteDevice {
  return new RemoteDevice(options)
}

export class RemoteDevice implements BlockDevice, ReceiverOwner, SenderOwner, Task {
  readonly info: DeviceInfo
  readonly structuredReplies: boolean
  readonly contextId: number | undefined
  readonly blockSize: number
  readonly #payloadMax: number
  readonly #effectMax: number
  readonly #engine: Engine
  readonly #clock: Clock
  readonly #fd: number
  readonly #socket: EngineSocket
  readonly #receiver: RemoteReceiver
  readonly #sender: RemoteSender
  readonly #requestTimeoutMs: number
  readonly #onLost: (reason: string) => void
  readonly #timer: Timer
  readonly #queue = new RequestQueue(REMOTE_QUEUED_MAX)
  readonly #pieces = new PiecePool(REMOTE_IN_FLIGHT_MAX)
  readonly #works = new WorkPool()
  /** The work whose next piece is the next to go out. */
  #head: Work | undefined
  #state: 'open' | 'closing' | 'lost' | 'closed' = 'open'
  #isScheduled = false
  #isTiming = false
  #disconnectBy = Number.POSITIVE_INFINITY
  #ended!: () => void
  /** Settles when the socket is closed and every request has completed. */
  readonly #end = new Promise<void>(resolve => {
    this.#ended = resolve
  })

  constructor({ engine, fd, tls, info, requestTimeoutMs, clock, onLost }: RemoteOptions) {
    this.info = deviceInfo(info)
    this.structuredReplies = info.structuredReplies
    this.contextId = info.contextId
    this.blockSize = this.info.blockSize
    this.#payloadMax = wholeBlocks(Math.min(info.blockSize.maximum, PAYLOAD_MAX), this.blockSize)
    assert(this.#payloadMax > 0, 'remote: the server allows less than a block per request')
    this.#effectMax = wholeBlocks(EFFECT_LENGTH_MAX, this.blockSize)
    this.#engine = engine
    this.#clock = clock ?? engine
    this.#fd = fd
    this.#requestTimeoutMs = requestTimeoutMs
    this.#onLost = onLost ?? (() => {})
    this.#timer = this.#clock.createTimer(() => this.#checkTimes())
    this.#socket = openStream(engine, { fd, tls })
    this.#sender = new RemoteSender(engine, this.#socket, this, REMOTE_IN_FLIGHT_MAX)
    this.#receiver = new RemoteReceiver(this.#socket, this)
    this.#receiver.start()
  }

  /** Pieces under way. */
  get inFlight(): number {
    return this.#pieces.count
  }

  submit(request: Request): void {
    if (this.#state !== 'open') {
      request.complete(ESHUTDOWN)
    } else if (this.#queue.push(request)) {
      this.#schedule()
    } else {
      request.complete(ENOMEM)
    }
  }

  close(): Promise<void> {
    if (this.#state === 'open') {
      this.#state = 'closing'
      this.#schedule()
    }
    return this.#end
  }

  /** At the end of a turn: everything that has piled up leaves in one send. */
  run(): void {
    this.#isScheduled = false
    if (this.#state === 'lost' || this.#state === 'closed' || this.#sender.isSending) return
    const now = this.#clock.now()
    while (this.#pieces.hasFree && this.#takeHead()) this.#issue(this.#head!, now)
    if (this.#sender.hasPending) {
      this.#sender.send()
      this.#startTiming()
    } else if (this.#state === 'closing' && this.#isIdle) {
      this.#disconnectBy = now + this.#requestTimeoutMs
      this.#sender.sendDisconnect()
      this.#startTiming()
    }
  }

  find(cookieHigh: number, cookieLow: number): Piece {
    const piece = this.#pieces.get(cookieLow)
    const isKnown = piece !== undefined && piece.generation === cookieHigh && !piece.isAnswered
    if (isKnown) return piece
    throw new ProtocolError('cookie', 'that of a request under way', `${cookieHigh}:${cookieLow}`)
  }

  answered(piece: Piece): void {
    piece.isAnswered = true
    if (piece.isSent) this.#finish(piece)
  }

  ended(reason: string): void {
    if (this.#state === 'closing' && this.#isIdle) this.#closeSocket('closed')
    else this.#lose(reason)
  }

  sent(piece: Piece): void {
    piece.isSent = true
    if (piece.isAnswered) this.#finish(piece)
  }

  sendEnded(errno: number): void {
    if (errno !== 0) this.#lose(`sending failed with errno ${errno}`)
    else if (this.#disconnectBy < Number.POSITIVE_INFINITY) this.#closeSocket('closed')
    else this.#schedule()
  }

  get #isIdle(): boolean {
    return this.#pieces.count === 0 && this.#queue.count === 0 && this.#head === undefined
  }

  #schedule(): void {
    const isOver = this.#state === 'lost' || this.#state === 'closed'
    if (isOver || this.#isScheduled || this.#sender.isSending) return
    this.#isScheduled = true
    this.#engine.atTurnEnd(this)
  }

  /** Makes sure that there is a head with something left to send; false if nothing waits. */
  #takeHead(): boolean {
    if (this.#head !== undefined) return true
    const request = this.#queue.shift()
    if (request === undefined) return false
    this.#head = this.#works.take(request)
    request.extents?.clear()
    return true
  }

  #issue(work: Work, now: number): void {
    const request = work.request!
    const length = Math.min(request.length - work.issued, this.#lengthMax(request.command))
    const piece = this.#pieces.take(work, request.offset + work.issued, length, now)
    work.issued += length
    work.pieces++
    // A block status may answer for less than it was asked, so one piece is enough.
    if (work.issued === request.length || request.command === NBD_CMD_BLOCK_STATUS)
      this.#head = undefined
    work.isIssued = this.#head === undefined
    this.#sender.add(piece)
  }

  #lengthMax(command: number): number {
    if (command === NBD_CMD_READ || command === NBD_CMD_WRITE) return this.#payloadMax
    return command === NBD_CMD_FLUSH ? 0 : this.#effectMax
  }

  /** A piece is sent and answered, or never will be. */
  #finish(piece: Piece): void {
    const work = piece.work!
    const { error } = piece
    this.#pieces.release(piece)
    work.pieces--
    if (error !== 0) this.#fail(work, error)
    if (work.isIssued && work.pieces === 0) this.#complete(work)
    if (this.#queue.count > 0 || this.#head !== undefined || this.#state === 'closing')
      this.#schedule()
  }

  /** The rest of a work that failed is not sent. */
  #fail(work: Work, error: number): void {
    if (work.error === 0) work.error = error
    work.isIssued = true
    if (this.#head === work) this.#head = undefined
  }

  #complete(work: Work): void {
    const request = work.request!
    const { error } = work
    this.#works.release(work)
    request.complete(error)
  }

  #startTiming(): void {
    if (this.#isTiming) return
    this.#isTiming = true
    this.#timer.arm(this.#requestTimeoutMs / CHECKS_PER_TIMEOUT)
  }

  #checkTimes(): void {
    this.#isTiming = false
    const now = this.#clock.now()
    const oldest = this.#pieces.oldestStart()
    if (now >= this.#disconnectBy || now - oldest >= this.#requestTimeoutMs) {
      this.#lose(`the server has not answered for ${this.#requestTimeoutMs} ms`)
    } else if (this.#pieces.count > 0 || this.#disconnectBy < Number.POSITIVE_INFINITY) {
      this.#startTiming()
    }
  }

  #lose(reason: string): void {
    if (this.#state === 'lost' || this.#state === 'closed') return
    // What has not left yet must never arrive: once we have given up, an old write would destroy a
    // newer one.
    setLinger(this.#fd, 0)
    this.#closeSocket('lost', reason)
  }

  /**
   * The requests' memory is the engine's until the socket is closed, so they complete after that.
   */
  #closeSocket(state: 'lost' | 'closed', reason = ''): void {
    if (this.#state === 'lost' || this.#state === 'closed') return
    this.#state = state
    this.#timer.disarm()
    this.#receiver.stop()
    this.#socket.close().then(() => {
      this.#failAll()
      this.#receiver.release()
      this.#sender.release()
      if (state === 'lost') this.#onLost(reason)
      this.#ended()
    })
  }

  #failAll(): void {
    for (const piece of this.#pieces.all()) {
      if (piece.work === undefined) continue
      piece.error = ESHUTDOWN
      this.#finish(piece)
    }
    if (this.#head !== undefined) {
      const work = this.#head
      this.#fail(work, ESHUTDOWN)
      this.#complete(work)
    }
    for (;;) {
      const request = this.#queue.shift()
      if (request === undefined) return
      request.complete(ESHUTDOWN)
    }
  }
}
