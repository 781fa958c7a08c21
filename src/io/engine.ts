/**
 * What the data path asks of the kernel, so that nothing above knows whether io_uring or libuv
 * answers.
 *
 * An engine belongs to one thread. Every operation is settled exactly once, from the engine's loop
 * and never from inside the call that started it. Memory, gather and operation belong to the engine
 * from the call until it settles. Results follow the kernel: a byte count or 0, or a negative
 * errno.
 */
import type { Clock } from './clock.ts'
import type { Memory } from './memory.ts'

/**
 * One operation under way. Callers pool the objects that implement it: an engine allocates nothing
 * per operation.
 */
export interface Operation {
  /** `result` is the kernel's: >= 0, or a negative errno. */
  settle(result: number): void
}

/** Work put off to the end of a turn. */
export interface Task {
  run(): void
}

export const ENGINE_NAMES = ['uring', 'libuv'] as const
export type EngineName = (typeof ENGINE_NAMES)[number]

export interface Engine extends Clock {
  readonly name: EngineName

  /** Reads at `offset` (bytes) into memory. Short only at the end of the file. */
  read(
    fd: number,
    memory: Memory,
    at: number,
    length: number,
    offset: number,
    operation: Operation,
  ): void
  /** Writes at `offset` (bytes). A short result means that the device is full at that place. */
  write(
    fd: number,
    memory: Memory,
    at: number,
    length: number,
    offset: number,
    operation: Operation,
  ): void
  /** fdatasync(2): what was written before is durable. */
  sync(fd: number, operation: Operation): void
  /**
   * fallocate(2) with the kernel's own mode bits; on block devices it discards or writes zeroes.
   */
  fallocate(fd: number, mode: number, offset: number, length: number, operation: Operation): void

  /** Takes over a connected stream socket; the fd is closed by `EngineSocket.close`. */
  openSocket(fd: number): EngineSocket
  /** A list of memory to send, reused by its owner for send after send. */
  createGather(entriesMax: number): Gather

  /**
   * Runs `task.run` once, at the end of the turn under way (of the next, outside a turn): after
   * everything that settled in it and before anything started in it is submitted. Whoever batches
   * (replies, requests to a target) schedules itself on the first of a turn.
   */
  atTurnEnd(task: Task): void
  /**
   * Runs `callback` on the event loop of this thread soon, outside any settle. For code that
   * awaits, not per request.
   */
  defer(callback: () => void): void
  /**
   * Stops the loop, cancels what is under way and waits for it. Files and sockets must be closed
   * before.
   */
  close(): Promise<void>
}

export interface EngineSocket {
  /**
   * Receives 1 to `length` bytes; 0 is the peer's end of stream. With `all` it settles only with
   * the whole length, or short at the end of the stream. One receive may be under way at a time.
   */
  recv(memory: Memory, at: number, length: number, all: boolean, operation: Operation): void
  /**
   * Sends the whole gather, which is spent then: clear it before it is filled again. One send may
   * be under way at a time.
   */
  send(gather: Gather, operation: Operation): void
  /**
   * Settles what is under way with -ECANCELED (or its result), then closes the fd. Safe to call
   * twice.
   */
  close(): Promise<void>
}

export interface Gather {
  readonly entriesMax: number
  /** Entries so far. */
  readonly count: number
  /** Bytes so far. */
  readonly length: number
  push(memory: Memory, at: number, length: number): void
  clear(): void
}
