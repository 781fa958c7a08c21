/**
 * One request on its way through a chain of block devices. It travels down by `BlockDevice.submit`
 * and its completion travels back up: a device that wants to see the completion pushes itself
 * before it passes the request on, as a filter does with a Linux bio.
 *
 * Requests are pooled by whoever starts them (a connection, the copier, a test). The memory belongs
 * to the starter, and is lent to the chain from submit to completion, and beyond it while `isLent`.
 * Nothing here is checked: `checked` is the first link of a chain.
 */
import type { Memory } from '../io/memory.ts'
import type { Extents } from './extents.ts'

/**
 * Sees a request come back. `request.error` is final for the caller only after the last one has
 * run.
 */
export interface Completion {
  completed(request: Request): void
}

/**
 * Hears that the last borrower has given a request back which was completed before: now it may be
 * used again.
 */
export interface Lender {
  givenBack(request: Request): void
}

/** Deepest chain of filters that push themselves. */
export const COMPLETION_DEPTH_MAX = 8

export class Request {
  /** NBD_CMD_READ, WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES or BLOCK_STATUS. */
  command = 0
  /** NBD_CMD_FLAG_FUA, NO_HOLE, FAST_ZERO, REQ_ONE. */
  flags = 0
  /** First byte on the device. */
  offset = 0
  /** Bytes; 0 for a flush. */
  length = 0
  /** Where the payload of a read or a write is, from `memoryOffset` for `length` bytes. */
  memory: Memory | undefined = undefined
  memoryOffset = 0
  /** Where the answer of a block status goes. */
  extents: Extents | undefined = undefined
  /**
   * 0, or the positive errno (Linux numbering) that the request failed with. Valid once completed.
   */
  error = 0
  /**
   * Set once by a starter that reuses requests or memory; it then looks at `isLent` when a request
   * completes.
   */
  lender: Lender | undefined = undefined

  readonly #stack: (Completion | undefined)[] = new Array(COMPLETION_DEPTH_MAX).fill(undefined)
  #depth = 0
  #borrowers = 0

  /** Asks to see the completion. The last to push is the first to be called. */
  push(completion: Completion): void {
    if (this.#depth === COMPLETION_DEPTH_MAX) throw new Error('request: chain is too deep')
    this.#stack[this.#depth++] = completion
  }

  /**
   * Ends the work of the device that calls it, with 0 or a positive errno; runs the completion
   * pushed last. A filter that was called passes the outcome on by calling `complete` again.
   */
  complete(error: number): void {
    if (this.#depth === 0) throw new Error('request: completed twice')
    this.error = error
    const completion = this.#stack[--this.#depth]!
    this.#stack[this.#depth] = undefined
    completion.completed(this)
  }

  /** True while it is inside a chain. */
  get isUnderWay(): boolean {
    return this.#depth > 0
  }

  /**
   * A device borrows the request and its memory beyond the completion which it is about to pass on:
   * the mirror does when the source has answered and the target is still being sent the payload. At
   * most one loan for each request in flight.
   */
  lend(): void {
    this.#borrowers++
  }

  /** The borrower is done. */
  giveBack(): void {
    this.#borrowers--
    if (this.#borrowers === 0 && this.#depth === 0) this.lender?.givenBack(this)
  }

  /** True while it may not be reused although it has completed. */
  get isLent(): boolean {
    return this.#borrowers > 0
  }

  /** Sets what to do. The starter then pushes itself and submits. */
  set(command: number, flags: number, offset: number, length: number): void {
    this.command = command
    this.flags = flags
    this.offset = offset
    this.length = length
    this.error = 0
  }
}
