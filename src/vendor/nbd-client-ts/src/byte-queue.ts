// Bytes that have arrived and are not yet consumed, in one growing buffer. Growth doubles, so a
// peer that sends a byte at a time costs no more than one that does not. Whatever take() returns
// is a copy: it stays valid, and it pins no other session's memory.

const INITIAL_CAPACITY = 256

/** A first-in first-out queue of bytes. The owner bounds it by consuming before it pushes more. */
export class ByteQueue {
  #buffer = new Uint8Array(INITIAL_CAPACITY)
  #start = 0
  #end = 0

  /** Bytes waiting. */
  get length(): number {
    return this.#end - this.#start
  }

  /** Appends a copy of `bytes`. */
  push(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#end)
    this.#end += bytes.length
  }

  /** A view over the next `length` bytes, valid until the next push(); they stay in the queue. */
  peek(length: number): DataView {
    if (length > this.length) throw new RangeError(`peek length=${length} of ${this.length}`)
    return new DataView(this.#buffer.buffer, this.#start, length)
  }

  /** Removes the next `length` bytes and returns a copy of them. */
  take(length: number): Uint8Array {
    if (length > this.length) throw new RangeError(`take length=${length} of ${this.length}`)
    const taken = this.#buffer.slice(this.#start, this.#start + length)
    this.drop(length)
    return taken
  }

  /** Removes up to `length` bytes and returns how many. */
  drop(length: number): number {
    const dropped = Math.min(length, this.length)
    this.#start += dropped
    if (this.#start === this.#end) this.#start = this.#end = 0
    return dropped
  }

  /** Removes and returns everything. */
  takeAll(): Uint8Array {
    return this.take(this.length)
  }

  #reserve(more: number): void {
    if (this.#end + more <= this.#buffer.length) return
    const length = this.length
    let capacity = this.#buffer.length
    // Half stays free after moving, or a nearly full queue would move all its bytes at each push.
    while (capacity < (length + more) * 2) capacity *= 2
    const next = capacity > this.#buffer.length ? new Uint8Array(capacity) : this.#buffer
    next.set(this.#buffer.subarray(this.#start, this.#end), 0)
    this.#buffer = next
    this.#start = 0
    this.#end = length
  }
}
