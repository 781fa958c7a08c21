/**
 * First in, first out, in a ring that grows to a limit and never shrinks. It borrows the requests;
 * nothing is allocated once it has grown to what its user needs.
 */
import assert from 'node:assert/strict'
import type { Request } from './request.ts'

const CAPACITY_START = 64

export class RequestQueue {
  /** Most requests it holds: a power of two. */
  readonly limit: number
  #ring: (Request | undefined)[]
  #head = 0
  #count = 0

  constructor(limit: number) {
    assert(Number.isInteger(Math.log2(limit)), 'request queue: limit is not a power of two')
    this.limit = limit
    this.#ring = new Array(Math.min(CAPACITY_START, limit)).fill(undefined)
  }

  get count(): number {
    return this.#count
  }

  /** Appends; false when the queue is full. */
  push(request: Request): boolean {
    if (this.#count === this.limit) return false
    if (this.#count === this.#ring.length) this.#grow()
    this.#ring[(this.#head + this.#count) & (this.#ring.length - 1)] = request
    this.#count++
    return true
  }

  /** Takes the oldest out; undefined when empty. */
  shift(): Request | undefined {
    if (this.#count === 0) return undefined
    const request = this.#ring[this.#head]
    this.#ring[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#ring.length - 1)
    this.#count--
    return request
  }

  #grow(): void {
    const old = this.#ring
    this.#ring = new Array(old.length * 2).fill(undefined)
    for (let i = 0; i < this.#count; i++) {
      this.#ring[i] = old[(this.#head + i) & (old.length - 1)]
    }
    this.#head = 0
  }
}
