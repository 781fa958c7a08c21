/**
 * The engine over node:fs and node:net, for kernels without io_uring. Files run on libuv's thread
 * pool: set UV_THREADPOOL_SIZE before the process starts (its default, 4, is the number of file
 * operations at a time; the rest wait their turn, a slow sync in front of them). It has no loop of
 * its own: a turn is an iteration of Node's event loop, and ends in its check phase. Belongs to the
 * thread that made it.
 */
import assert from 'node:assert'
import fs from 'node:fs'
import { constants } from 'node:os'
import type { Timer } from './clock.ts'
import type { Engine, EngineSocket, Gather, Operation, Task } from './engine.ts'
import { IovecGather } from './gather.ts'
import { fallocateAsync } from './libc.ts'
import { errnoOf, LibuvSocket } from './libuv-socket.ts'
import type { Memory } from './memory.ts'
import { TimerQueue } from './timer-queue.ts'
import { AGAIN, LENGTH_MAX, readOutcome, writeOutcome } from './transfer.ts'

/** File operations under way at a time; starting more is an assertion. */
const OPERATIONS_MAX = 16384
const { EAGAIN, ECANCELED, EINTR } = constants.errno

/** One file operation under way; pooled, with its callback made once. */
class FileOperation {
  fd = -1
  memory: Memory | undefined = undefined
  at = 0
  length = 0
  offset = 0
  done = 0
  isWrite = false
  operation: Operation | undefined = undefined
  readonly settled: (error: NodeJS.ErrnoException | null, count?: number) => void

  constructor(engine: { fileSettled(file: FileOperation, result: number): void }) {
    this.settled = (error, count = 0) => engine.fileSettled(this, error ? errnoOf(error) : count)
  }
}

export class LibuvEngine implements Engine {
  readonly name = 'libuv'
  readonly #free: FileOperation[] = []
  readonly #sockets = new Set<LibuvSocket>()
  readonly #timers = new TimerQueue({
    now: () => performance.now(),
    armed: due => this.#armed(due),
  })
  #timeout: NodeJS.Timeout | undefined
  #timeoutDue = Number.POSITIVE_INFINITY
  #tasks: Task[] = []
  #tasksNext: Task[] = []
  #underWay = 0
  #closing: Promise<void> | undefined
  #isClosed = false
  #idle: (() => void) | undefined

  now(): number {
    return performance.now()
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
    this.#transfer(false, fd, memory, at, length, offset, operation)
  }

  write(
    fd: number,
    memory: Memory,
    at: number,
    length: number,
    offset: number,
    operation: Operation,
  ): void {
    this.#transfer(true, fd, memory, at, length, offset, operation)
  }

  sync(fd: number, operation: Operation): void {
    if (this.#isRefused(operation)) return
    fs.fdatasync(fd, this.#claim(fd, operation).settled)
  }

  fallocate(fd: number, mode: number, offset: number, length: number, operation: Operation): void {
    assert(offset >= 0 && length > 0, 'fallocate: offset and length are positive')
    if (this.#isRefused(operation)) return
    const file = this.#claim(fd, operation)
    fallocateAsync(fd, mode, offset, length, result => this.fileSettled(file, result))
  }

  openSocket(fd: number): EngineSocket {
    assert(!this.#closing, 'engine: used after close')
    const socket = new LibuvSocket(fd, () => this.#sockets.delete(socket))
    this.#sockets.add(socket)
    return socket
  }

  createGather(entriesMax: number): Gather {
    return new IovecGather(entriesMax)
  }

  atTurnEnd(task: Task): void {
    if (this.#tasksNext.push(task) === 1) setImmediate(this.#runTasks)
  }

  defer(callback: () => void): void {
    setImmediate(callback)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await Promise.all(Array.from(this.#sockets, socket => socket.close()))
    this.#timers.clear()
    clearTimeout(this.#timeout)
    // The thread pool cannot be interrupted: what it has begun ends in its own time.
    if (this.#underWay > 0) {
      await new Promise<void>(resolve => {
        this.#idle = resolve
      })
    }
    this.#isClosed = true
  }

  #transfer(
    isWrite: boolean,
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
    if (this.#isRefused(operation)) return
    const file = this.#claim(fd, operation)
    file.memory = memory
    file.at = at
    file.length = length
    file.offset = offset
    file.isWrite = isWrite
    this.#start(file)
  }

  #start(file: FileOperation): void {
    const { fd, memory, at, length, offset, done } = file
    const { bytes } = memory!
    if (file.isWrite) fs.write(fd, bytes, at + done, length - done, offset + done, file.settled)
    else fs.read(fd, bytes, at + done, length - done, offset + done, file.settled)
  }

  /** For the operations of this engine: the kernel answered. */
  fileSettled(file: FileOperation, result: number): void {
    let outcome = result
    if (file.memory) {
      const decide = file.isWrite ? writeOutcome : readOutcome
      const isInterrupted = result === -EINTR || result === -EAGAIN
      outcome = isInterrupted ? AGAIN : decide(result, file.done, file.length)
      if (outcome === AGAIN) {
        file.done += Math.max(result, 0)
        this.#start(file)
        return
      }
    }
    const operation = file.operation!
    file.operation = undefined
    file.memory = undefined
    this.#free.push(file)
    this.#underWay--
    operation.settle(outcome)
    if (this.#underWay === 0) this.#idle?.()
  }

  #claim(fd: number, operation: Operation): FileOperation {
    assert(
      this.#underWay < OPERATIONS_MAX,
      `engine: more than ${OPERATIONS_MAX} operations under way`,
    )
    this.#underWay++
    const file = this.#free.pop() ?? new FileOperation(this)
    file.fd = fd
    file.operation = operation
    file.done = 0
    return file
  }

  /** While the engine closes, new operations are cancelled. */
  #isRefused(operation: Operation): boolean {
    assert(!this.#isClosed, 'engine: used after close')
    if (!this.#closing) return false
    setImmediate(() => operation.settle(-ECANCELED))
    return true
  }

  readonly #runTasks = (): void => {
    const tasks = this.#tasksNext
    this.#tasksNext = this.#tasks
    this.#tasks = tasks
    for (let i = 0; i < tasks.length; i++) tasks[i]!.run()
    tasks.length = 0
  }

  #armed(due: number): void {
    if (due >= this.#timeoutDue) return
    clearTimeout(this.#timeout)
    this.#timeoutDue = due
    this.#timeout = setTimeout(this.#expire, Math.max(0, due - performance.now()))
  }

  readonly #expire = (): void => {
    this.#timeoutDue = Number.POSITIVE_INFINITY
    this.#timers.expire(performance.now())
    if (this.#timers.next !== Number.POSITIVE_INFINITY) this.#armed(this.#timers.next)
  }
}
