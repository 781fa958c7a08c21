/**
 * Runs whose writes the target has acknowledged since its last flush. Acknowledged is not durable:
 * a target that restarts may lose them, and then they are dirty again. So a run is appended before
 * its bits are cleared for good, and stays until a flush that was submitted after that has
 * succeeded.
 *
 * A ring of {first chunk, count} with a running head and tail, in the shared mapping: whoever opens
 * it after a kill makes what it holds dirty again. The entry is stored before the head moves: any
 * prefix of the stores is sound.
 */

/** Bytes of one entry. */
export const LOG_ENTRY_BYTES = 8
/** Bytes of head and tail, in front of the entries. */
export const LOG_HEADER_BYTES = 8

export class FlushLog {
  /** Most entries: a power of two. */
  readonly capacity: number
  /** Head and tail count modulo 2^32. */
  readonly #ends: Uint32Array
  readonly #entries: Uint32Array
  /** Head at the youngest snapshot: entries before it may be dropped by a flush under way. */
  #snapshot: number

  constructor(storage: Uint8Array) {
    this.capacity =
      2 ** Math.floor(Math.log2((storage.length - LOG_HEADER_BYTES) / LOG_ENTRY_BYTES))
    this.#ends = new Uint32Array(storage.buffer, storage.byteOffset, 2)
    const entries = storage.byteOffset + LOG_HEADER_BYTES
    this.#entries = new Uint32Array(storage.buffer, entries, this.capacity * 2)
    this.#snapshot = this.#ends[0]!
  }

  /** Number of entries. */
  get count(): number {
    return (this.#ends[0]! - this.#ends[1]!) >>> 0
  }

  /** Appends a run; false when there is no room, and then its bits must stay set. */
  append(first: number, end: number): boolean {
    const head = this.#ends[0]!
    if (head !== this.#snapshot && this.#isLast(head, first, end)) return true
    if (this.count === this.capacity) return false
    const at = (head & (this.capacity - 1)) * 2
    this.#entries[at] = first
    this.#entries[at + 1] = end - first
    this.#ends[0] = head + 1
    return true
  }

  /** To be taken when a flush is submitted, and given to `flushed` when that flush succeeds. */
  snapshot(): number {
    this.#snapshot = this.#ends[0]!
    return this.#snapshot
  }

  /** A flush has succeeded: what was appended before its snapshot is durable. */
  flushed(snapshot: number): void {
    const tail = this.#ends[1]!
    // Flushes may overtake each other; an older one, or one from before a drain, has nothing to
    // add.
    if ((snapshot - tail) >>> 0 <= this.count) this.#ends[1] = snapshot
  }

  /** Hands every run to `run`, then forgets them all: the target has lost them, or may have. */
  drain(run: (first: number, end: number) => void): void {
    const head = this.#ends[0]!
    const count = Math.min(this.count, this.capacity)
    for (let index = (head - count) >>> 0; index !== head; index = (index + 1) >>> 0) {
      const at = (index & (this.capacity - 1)) * 2
      const first = this.#entries[at]!
      run(first, first + this.#entries[at + 1]!)
    }
    this.#ends[1] = head
    this.#snapshot = head
  }

  /** True if the entry before `head` covers the run: hot chunks take no room. */
  #isLast(head: number, first: number, end: number): boolean {
    const at = ((head - 1) & (this.capacity - 1)) * 2
    const from = this.#entries[at]!
    return from <= first && end <= from + this.#entries[at + 1]!
  }
}
