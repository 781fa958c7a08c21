/**
 * From operations to completions: the ring, the table of flights, and the queues between them. A
 * claimed flight is `submit`ted (or settled `soon`, without the kernel), waits until ring and
 * kernel have room, and settles exactly once from `settleEarly` or `reap`. Short transfers and
 * interruptions are resubmitted here, unseen by anybody. Invariant: no more is with the kernel than
 * the completion ring holds. It has no loop: the engine calls it turn by turn.
 */
import assert from 'node:assert'
import { constants } from 'node:os'
import type { Operation } from './engine.ts'
import { type Flight, FlightQueue, FlightTable, prepareFlight } from './flight.ts'
import { PollingWait } from './polling-wait.ts'
import { IORING_OP, type Ring } from './ring.ts'
import { AGAIN, readOutcome, writeOutcome } from './transfer.ts'

/** EINTR and EAGAIN in a row that are put down to chance. */
const RETRIES_MAX = 1000
/** A send no longer than this is done when the call that submits it is (bytes). */
const PROMPT_LENGTH_MAX = 64 * 1024
/** Unless its peer takes nothing: longest wait on that assumption (ms). */
const PROMPT_MS_MAX = 1
/**
 * Operations with the kernel up to which a wait is worth asking for its end: with more, somebody
 * else has work to do and needs the processor for it.
 */
const POLLED_MAX = 4
const TAG_EVENT_LOOP = 0xffffffff
const TAG_CANCEL = 0xfffffffe
const POLLIN = 1
const ASYNC_CANCEL_ALL = 1
const ASYNC_CANCEL_ANY = 4
const { EAGAIN, ECANCELED, EINTR } = constants.errno

export interface DispatcherOwner {
  /** Something was started: a turn is due. */
  wake(): void
  /** The polled fd was readable; it is polled again from the next `submitAll` on. */
  polled(): void
}

export class Dispatcher {
  readonly #owner: DispatcherOwner
  readonly #ring: Ring
  readonly #wait: PollingWait
  readonly #flights: FlightTable
  /** To be submitted, in order. */
  readonly #queue: FlightQueue
  /** To be settled without the kernel; `done` is the result. */
  readonly #early: FlightQueue
  readonly #withKernelMax: number
  #withKernel = 0
  /** Of these: receives, and short sends that go with the next `enter`. */
  #receives = 0
  #promptSends = 0
  readonly #polledFd: number
  #isPolling = false
  #state: 'open' | 'cancelling' | 'closed' = 'open'

  constructor(owner: DispatcherOwner, ring: Ring, operationsMax: number, polledFd: number) {
    this.#owner = owner
    this.#ring = ring
    this.#wait = new PollingWait(ring)
    this.#flights = new FlightTable(operationsMax)
    this.#queue = new FlightQueue(operationsMax)
    this.#early = new FlightQueue(operationsMax)
    // The completion ring also holds the poll and a cancellation.
    this.#withKernelMax = ring.completionsMax - 2
    this.#polledFd = polledFd
  }

  /** Operations under way. */
  get count(): number {
    return this.#flights.count
  }

  /** True if the next turn settles something whatever the kernel does. */
  get hasEarly(): boolean {
    return this.#early.count > 0
  }

  claim(operation: Operation): Flight {
    assert(this.#state !== 'closed', 'engine: used after close')
    return this.#flights.claim(operation)
  }

  /** Starts a claimed flight. Once everything is being cancelled it is cancelled too. */
  submit(flight: Flight): void {
    if (this.#state === 'cancelling') {
      this.settleSoon(flight, -ECANCELED)
      return
    }
    this.#queue.push(flight)
    this.#owner.wake()
  }

  /** Settles a claimed flight with the next `settleEarly`. */
  settleSoon(flight: Flight, result: number): void {
    flight.done = result
    this.#early.push(flight)
    this.#owner.wake()
  }

  settleEarly(): void {
    // Those added meanwhile belong to the next turn.
    for (let count = this.#early.count; count > 0; count--) {
      const flight = this.#early.shift()
      this.#settle(flight, flight.done)
    }
  }

  /** Prepares what there is room for; `enter` hands it over. */
  submitAll(): void {
    if (!this.#isPolling && this.#hasRoom()) {
      this.#isPolling = true
      this.#ring.prepare(IORING_OP.POLL_ADD, this.#polledFd, 0, 0, 0, POLLIN, TAG_EVENT_LOOP)
    }
    while (this.#queue.count > 0 && this.#withKernel < this.#withKernelMax && this.#hasRoom()) {
      const flight = this.#queue.shift()
      this.#withKernel++
      if (flight.opcode === IORING_OP.RECV) this.#receives++
      if (isPromptSend(flight)) this.#promptSends++
      prepareFlight(this.#ring, flight)
    }
  }

  /**
   * Submits and waits, `waitMs` at most, for something to happen. A short send that is done at once
   * is nothing that happens: with nothing but receives beside it, it is not worth a turn.
   */
  enter(waitMs: number): void {
    const sends = this.#promptSends
    this.#promptSends = 0
    if (sends > 0 && this.#withKernel === sends + this.#receives) {
      this.#wait.enter(Math.min(waitMs, PROMPT_MS_MAX), 1 + sends)
    } else if (this.#withKernel <= POLLED_MAX) {
      this.#wait.enter(waitMs, 1)
    } else {
      this.#ring.enter(waitMs, 1)
    }
  }

  /** Settles what the kernel has completed. */
  reap(): void {
    while (this.#ring.next()) this.#completed(this.#ring.tag, this.#ring.result)
  }

  /**
   * What the kernel has not begun is answered with ECANCELED; what it has begun ends in its own
   * time.
   */
  cancelAll(): void {
    this.#state = 'cancelling'
    for (let count = this.#queue.count; count > 0; count--) {
      this.settleSoon(this.#queue.shift(), -ECANCELED)
    }
    // Kernels before 5.19 refuse it, and then everything ends in its own time.
    const flags = ASYNC_CANCEL_ALL | ASYNC_CANCEL_ANY
    if (this.#hasRoom()) this.#ring.prepare(IORING_OP.ASYNC_CANCEL, -1, 0, 0, 0, flags, TAG_CANCEL)
  }

  /** Releases the ring; nothing may be under way. */
  close(): void {
    assert(this.count === 0, 'engine: closed with operations under way')
    this.#state = 'closed'
    this.#ring.close()
  }

  /** True if the ring takes another entry, which may take a submission first. */
  #hasRoom(): boolean {
    if (this.#ring.isFull) this.#ring.enter(0, 1)
    return !this.#ring.isFull
  }

  #completed(tag: number, result: number): void {
    if (tag === TAG_EVENT_LOOP) {
      this.#isPolling = false
      this.#owner.polled()
      return
    }
    if (tag === TAG_CANCEL) return
    this.#withKernel--
    const flight = this.#flights.get(tag)
    if (flight.opcode === IORING_OP.RECV) this.#receives--
    if ((result === -EINTR || result === -EAGAIN) && ++flight.retries <= RETRIES_MAX) {
      this.#resubmit(flight)
      return
    }
    const outcome = outcomeOf(flight, result)
    if (outcome === AGAIN) {
      flight.done += result
      flight.retries = 0
      this.#resubmit(flight)
    } else {
      this.#settle(flight, outcome)
    }
  }

  #resubmit(flight: Flight): void {
    if (this.#state === 'cancelling') this.#settle(flight, -ECANCELED)
    else this.#queue.push(flight)
  }

  #settle(flight: Flight, result: number): void {
    const operation = flight.operation!
    flight.socket?.finished(flight)
    this.#flights.free(flight)
    operation.settle(result)
  }
}

function isPromptSend({ opcode, length, socket }: Flight): boolean {
  if (opcode !== IORING_OP.SENDMSG || length > PROMPT_LENGTH_MAX) return false
  // Otherwise nothing but the send can happen there, and somebody waits for just that.
  return socket!.isReceiving
}

function outcomeOf(flight: Flight, result: number): number {
  if (flight.socket) return flight.socket.outcome(flight, result)
  switch (flight.opcode) {
    case IORING_OP.READ:
      return readOutcome(result, flight.done, flight.length)
    case IORING_OP.WRITE:
      return writeOutcome(result, flight.done, flight.length)
    default:
      return result
  }
}
