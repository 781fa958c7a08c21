/**
 * The engine over io_uring. It runs in turns: settle what needs no kernel; let batching tasks add
 * their work; submit everything with one system call, which also waits for completions; settle
 * those; run the timers that are due. `EventLoop` says how turns and Node share the thread. An
 * engine with nothing under way has no turns. It and everything it is given belong to the thread
 * that made it.
 */
import assert from 'node:assert'
import type { Timer } from './clock.ts'
import { Dispatcher, type DispatcherOwner } from './dispatcher.ts'
import type { Engine, EngineSocket, Gather, Operation, Task } from './engine.ts'
import { EventLoop } from './event-loop.ts'
import { IovecGather } from './gather.ts'
import type { Memory } from './memory.ts'
import { IORING_OP, openRing } from './ring.ts'
import { TimerQueue } from './timer-queue.ts'
import { LENGTH_MAX } from './transfer.ts'
import { UringSocket } from './uring-socket.ts'

const FSYNC_DATASYNC = 1

export interface UringOptions {
  /** Submissions per system call; a power of two. */
  readonly entries?: number
  /**
   * Operations with the kernel at a time; a power of two, at least `entries`. More wait in a queue
   * of the engine.
   */
  readonly completions?: number
  /** Operations under way at a time, those in the queue included. Starting more is an assertion. */
  readonly operationsMax?: number
  /** Longest wait in the kernel, against surprises (ms). */
  readonly blockMsMax?: number
}

export class UringEngine implements Engine, DispatcherOwner {
  readonly name = 'uring'
  readonly #dispatcher: Dispatcher
  readonly #sockets = new Set<UringSocket>()
  readonly #timers = new TimerQueue({
    now: () => this.now(),
    armed: () => this.wake(),
  })

  readonly #loop = new EventLoop(() => this.#turn())
  readonly #blockMsMax: number
  /** At the end of this turn, and of the next. */
  #tasks: Task[] = []
  #tasksNext: Task[] = []
  #isRunning = false
  #isInTurn = false
  #now = 0
  #closing: Promise<void> | undefined
  #isClosed = false
  #idle: (() => void) | undefined

  /** Throws a sentence saying why there is no io_uring. */
  constructor(options: UringOptions = {}) {
    const { entries = 1024, completions = 4096, operationsMax = 16384, blockMsMax = 1000 } = options
    const ring = openRing(entries, completions)
    this.#dispatcher = new Dispatcher(this, ring, operationsMax, this.#loop.fd)
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
    const flight = this.#dispatcher.claim(operation)
    flight.opcode = IORING_OP.FSYNC
    flight.fd = fd
    flight.flags = FSYNC_DATASYNC
    this.#dispatcher.submit(flight)
  }

  fallocate(fd: number, mode: number, offset: number, length: number, operation: Operation): void {
    assert(offset >= 0 && length > 0, 'fallocate: offset and length are positive')
    const flight = this.#dispatcher.claim(operation)
    flight.opcode = IORING_OP.FALLOCATE
    flight.fd = fd
    flight.offset = offset
    // The kernel wants the length in the address field and the mode in the length field.
    flight.address = length
    flight.length = mode
    this.#dispatcher.submit(flight)
  }

  openSocket(fd: number): EngineSocket {
    assert(!this.#closing, 'engine: used after close')
    const socket = new UringSocket(this.#dispatcher, fd, () => this.#sockets.delete(socket))
    this.#sockets.add(socket)
    return socket
  }

  createGather(entriesMax: number): Gather {
    return new IovecGather(entriesMax)
  }

  atTurnEnd(task: Task): void {
    this.#tasksNext.push(task)
    this.wake()
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
      this.#dispatcher.cancelAll()
      await new Promise<void>(resolve => {
        this.#idle = resolve
      })
    }
    this.#isClosed = true
    this.#loop.close()
    this.#dispatcher.close()
  }

  /** For the dispatcher: turns are needed. */
  wake(): void {
    if (this.#isRunning || this.#isClosed) return
    this.#isRunning = true
    this.#loop.start()
  }

  /** For the dispatcher: Node's event loop has work. */
  polled(): void {
    this.#loop.want()
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
    const flight = this.#dispatcher.claim(operation)
    flight.opcode = opcode
    flight.fd = fd
    flight.offset = offset
    flight.address = memory.address + at
    flight.length = length
    this.#dispatcher.submit(flight)
  }

  #turn(): void {
    this.#isInTurn = true
    this.#now = performance.now()
    try {
      this.#dispatcher.settleEarly()
      this.#runTasks()
      this.#dispatcher.submitAll()
      this.#dispatcher.enter(this.#waitMs())
      this.#now = performance.now()
      this.#dispatcher.reap()
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
      this.#dispatcher.count === 0 &&
      this.#tasksNext.length === 0 &&
      this.#timers.next === Number.POSITIVE_INFINITY
    )
  }

  /** How long this turn may wait. */
  #waitMs(): number {
    const spareMs = this.#loop.spareMs(this.#now)
    if (this.#dispatcher.hasEarly || this.#tasksNext.length > 0) return 0
    return Math.max(0, Math.min(spareMs, this.#timers.next - this.#now, this.#blockMsMax))
  }

  #runTasks(): void {
    const tasks = this.#tasksNext
    this.#tasksNext = this.#tasks
    this.#tasks = tasks
    for (let i = 0; i < tasks.length; i++) tasks[i]!.run()
    tasks.length = 0
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
