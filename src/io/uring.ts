/**
 * The engine over io_uring. It runs in turns: settle what needs no kernel; let batching tasks add their work; submit everything with one
 * system call, which also waits for completions; settle those; run the timers that are due. `EventLoop` says how turns and
 * Node share the thread. An engine with nothing under way has no turns. It and everything it is given belong to
 * the thread that made it.
 */
import assert from 'node:assert'
import { constants } from 'node:os'
import type { Timer } from './clock.ts'
import type { Engine, EngineSocket, Gather, Operation, Task } from './engine.ts'
import { EventLoop } from './event-loop.ts'
import { type Flight, FlightQueue, FlightTable, prepareFlight } from './flight.ts'
import { IovecGather } from './gather.ts'
import type { Memory } from './memory.ts'
import { IORING_OP, openRing, type Ring } from './ring.ts'
import { TimerQueue } from './timer-queue.ts'
import { AGAIN, LENGTH_MAX, readOutcome, writeOutcome } from './transfer.ts'
import { UringSocket } from './uring-socket.ts'

export interface UringOptions {
  /** Submissions per system call; a power of two. */
  readonly entries?: number
  /** Operations with the kernel at a time; a power of two, at least `entries`. More wait in a queue of the engine. */
  readonly completions?: number
  /** Operations under way at a time, those in the queue included. Starting more is an assertion. */
  readonly operationsMax?: number
  /** Longest wait in the kernel, against surprises (ms). */
  readonly blockMsMax?: number
}

/** EINTR and EAGAIN in a row that are put down to chance. */
const RETRIES_MAX = 1000
const TAG_EVENT_LOOP = 0xffffffff
const TAG_CANCEL = 0xfffffffe
const POLLIN = 1
const FSYNC_DATASYNC = 1
const ASYNC_CANCEL_ALL = 1
const ASYNC_CANCEL_ANY = 4
const { EAGAIN, ECANCELED, EINTR } = constants.errno

export class UringEngine implements Engine {
  readonly name = 'uring'
  readonly #ring: Ring
  readonly #flights: FlightTable
  /** To be submitted, in order. */
  readonly #queue: FlightQueue
  /** Settled without the kernel; `done` is the result. */
  readonly #early: FlightQueue
  readonly #withKernelMax: number
  #withKernel = 0
  readonly #sockets = new Set<UringSocket>()
  readonly #timers = new TimerQueue({
    now: () => this.now(),
    armed: () => this.#wake(),
  })

  readonly #loop = new EventLoop(() => this.#turn())
  readonly #blockMsMax: number
  /** At the end of this turn, and of the next. */
  #tasks: Task[] = []
  #tasksNext: Task[] = []
  #isPolling = false
  #isRunning = false
  #isInTurn = false
  #now = 0
  #closing: Promise<void> | undefined
  #isClosed = false
  #idle: (() => void) | undefined

  /** Throws a sentence saying why there is no io_uring. */
  constructor(options: UringOptions = {}) {
    const { entries = 1024, completions = 4096, operationsMax = 16384, blockMsMax = 1000 } = options
    this.#ring = openRing(entries, completions)
    this.#flights = new FlightTable(operationsMax)
    this.#queue = new FlightQueue(operationsMax)
    this.#early = new FlightQueue(operationsMax)
    // The completion ring also holds the event loop's poll and a cancellation.
    this.#withKernelMax = this.#ring.completionsMax - 2
    this.#blockMsMax = blockMsMax
  }

  now(): number {
    return this.#isInTurn ? this.#now : performance.now()
  }

  createTimer(expired: () => void): Timer {
    return this.#timers.create(expired)
  }

  read(
    fd: number,
    memory: Memory,
    at: number,
    length: number,
    offset: number,
    operation: Operation,
  ): void {
    this.#transfer(IORING_OP.READ, fd, memory, at, length, offset, operation)
  }

  write(
    fd: number,
    memory: Memory,
    at: number,
    length: number,
    offset: number,
    operation: Operation,
  ): void {
    this.#transfer(IORING_OP.WRITE, fd, memory, at, length, offset, operation)
  }

  sync(fd: number, operation: Operation): void {
    const flight = this.claim(operation)
    flight.opcode = IORING_OP.FSYNC
    flight.fd = fd
    flight.flags = FSYNC_DATASYNC
    this.submit(flight)
  }

  fallocate(fd: number, mode: number, offset: number, length: number, operation: Operation): void {
    assert(offset >= 0 && length > 0, 'fallocate: offset and length are positive')
    const flight = this.claim(operation)
    flight.opcode = IORING_OP.FALLOCATE
    flight.fd = fd
    flight.offset = offset
    // The kernel wants the length in the address field and the mode in the length field.
    flight.address = length
    flight.length = mode
    this.submit(flight)
  }

  openSocket(fd: number): EngineSocket {
    assert(!this.#closing, 'engine: used after close')
    const socket = new UringSocket(this, fd)
    this.#sockets.add(socket)
    return socket
  }

  createGather(entriesMax: number): Gather {
    return new IovecGather(entriesMax)
  }

  atTurnEnd(task: Task): void {
    this.#tasksNext.push(task)
    this.#wake()
  }

  defer(callback: () => void): void {
    setImmediate(callback)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    // Sockets whose owners forgot them would wait for their peers.
    await Promise.all(Array.from(this.#sockets, socket => socket.close()))
    this.#timers.clear()
    if (this.#isRunning) {
      this.#cancelAll()
      await new Promise<void>(resolve => {
        this.#idle = resolve
      })
    }
    this.#isClosed = true
    this.#loop.close()
    this.#ring.close()
  }

  /** For the engine's sockets: takes a free entry of the table. */
  claim(operation: Operation): Flight {
    assert(!this.#isClosed, 'engine: used after close')
    return this.#flights.claim(operation)
  }

  /** For the engine's sockets: starts a claimed flight. After `close` it is cancelled. */
  submit(flight: Flight): void {
    if (this.#closing) {
      this.settleSoon(flight, -ECANCELED)
      return
    }
    this.#queue.push(flight)
    this.#wake()
  }

  /** For the engine's sockets: settles a claimed flight in the next turn, without the kernel. */
  settleSoon(flight: Flight, result: number): void {
    flight.done = result
    this.#early.push(flight)
    this.#wake()
  }

  /** For the engine's sockets: closed, no longer ours. */
  forget(socket: UringSocket): void {
    this.#sockets.delete(socket)
  }

  #transfer(
    opcode: number,
    fd: number,
    memory: Memory,
    at: number,
    length: number,
    offset: number,
    operation: Operation,
  ): void {
    assert(length >= 0 && length <= LENGTH_MAX, 'transfer: too long for one operation')
    assert(at >= 0 && at + length <= memory.bytes.length, 'transfer: outside its memory')
    assert(offset >= 0 && offset + length <= Number.MAX_SAFE_INTEGER, 'transfer: offset is exact')
    const flight = this.claim(operation)
    flight.opcode = opcode
    flight.fd = fd
    flight.offset = offset
    flight.address = memory.address + at
    flight.length = length
    this.submit(flight)
  }

  #wake(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    this.#loop.start()
  }

  #turn(): void {
    this.#isInTurn = true
    this.#now = performance.now()
    try {
      this.#settleEarly()
      this.#runTasks()
      this.#submitQueue()
      this.#ring.enter(this.#waitMs())
      this.#now = performance.now()
      while (this.#ring.next()) this.#completed(this.#ring.tag, this.#ring.result)
      this.#timers.expire(this.#now)
    } finally {
      this.#isInTurn = false
      if (this.#isIdle) {
        this.#isRunning = false
        this.#loop.stop()
        this.#idle?.()
      } else {
        this.#loop.continue()
      }
    }
  }

  get #isIdle(): boolean {
    return (
      this.#flights.count === 0 &&
      this.#tasksNext.length === 0 &&
      this.#timers.next === Number.POSITIVE_INFINITY
    )
  }

  /** How long this turn may wait. */
  #waitMs(): number {
    const spareMs = this.#loop.spareMs(this.#now)
    if (this.#early.count > 0 || this.#tasksNext.length > 0) return 0
    return Math.max(0, Math.min(spareMs, this.#timers.next - this.#now, this.#blockMsMax))
  }

  #runTasks(): void {
    const tasks = this.#tasksNext
    this.#tasksNext = this.#tasks
    this.#tasks = tasks
    for (let i = 0; i < tasks.length; i++) tasks[i]!.run()
    tasks.length = 0
  }

  #settleEarly(): void {
    // Those added meanwhile belong to the next turn.
    for (let count = this.#early.count; count > 0; count--) {
      const flight = this.#early.shift()
      this.#settle(flight, flight.done)
    }
  }

  #submitQueue(): void {
    if (!this.#isPolling && !this.#ring.isFull) {
      this.#isPolling = true
      this.#ring.prepare(IORING_OP.POLL_ADD, this.#loop.fd, 0, 0, 0, POLLIN, TAG_EVENT_LOOP)
    }
    while (this.#queue.count > 0 && this.#withKernel < this.#withKernelMax) {
      if (this.#ring.isFull) {
        this.#ring.enter(0)
        if (this.#ring.isFull) return
      }
      const flight = this.#queue.shift()
      this.#withKernel++
      prepareFlight(this.#ring, flight)
    }
  }

  #completed(tag: number, result: number): void {
    if (tag === TAG_EVENT_LOOP) {
      this.#isPolling = false
      this.#loop.want()
      return
    }
    if (tag === TAG_CANCEL) return
    this.#withKernel--
    const flight = this.#flights.get(tag)
    if ((result === -EINTR || result === -EAGAIN) && ++flight.retries <= RETRIES_MAX) {
      this.#queue.push(flight)
      return
    }
    const outcome = this.#outcome(flight, result)
    if (outcome === AGAIN) {
      flight.done += result
      flight.retries = 0
      this.#queue.push(flight)
    } else {
      this.#settle(flight, outcome)
    }
  }

  #outcome(flight: Flight, result: number): number {
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

  #settle(flight: Flight, result: number): void {
    const operation = flight.operation!
    flight.socket?.finished(flight)
    this.#flights.free(flight)
    operation.settle(result)
  }

  /** What the kernel has not begun is answered with ECANCELED; what it has begun ends in its own time. */
  #cancelAll(): void {
    for (let count = this.#queue.count; count > 0; count--) {
      this.settleSoon(this.#queue.shift(), -ECANCELED)
    }
    // Kernels before 5.19 refuse it, and then everything ends in its own time.
    if (!this.#ring.isFull) {
      const flags = ASYNC_CANCEL_ALL | ASYNC_CANCEL_ANY
      this.#ring.prepare(IORING_OP.ASYNC_CANCEL, -1, 0, 0, 0, flags, TAG_CANCEL)
    }
  }
}

/** Tries io_uring out; undefined if it works, or the sentence saying why it does not. */
export function whyNoUring(): string | undefined {
  try {
    openRing(8, 8).close()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
