/**
 * The dirty bitmap: one bit per chunk, set where source and target differ or may differ. The bits
 * live in storage of the caller's (in production a shared mapping that outlives a killed process);
 * a pyramid of summaries above them, one bit per 32 of the level below, lives in the process and is
 * rebuilt on open, so that the next dirty chunk of a nearly clean 16 TiB disk is a few loads away.
 *
 * Invariants: bits beyond the last chunk are 0; a summary bit is set exactly if its word is not 0;
 * the count is exact.
 */
import assert from 'node:assert/strict'

/**
 * Most chunks of one disk: indices and counts stay small integers. 64 TiB at the default
 * granularity.
 */
export const CHUNKS_MAX = 2 ** 30

export interface BitmapOptions {
  /** At least `bitmapBytes(size, granularity)` bytes, aligned to 4, used as they are. */
  readonly storage: Uint8Array
  /** Bytes of the disk. */
  readonly size: number
  /** Bytes of a chunk, a power of two. */
  readonly granularity: number
  /** Every chunk is dirty, whatever the storage says. */
  readonly isAllDirty?: boolean | undefined
}

/** Bytes of storage for the bits of a disk. */
export function bitmapBytes(size: number, granularity: number): number {
  return Math.ceil(Math.ceil(size / granularity) / 32) * 4
}

export class DirtyBitmap {
  readonly size: number
  readonly granularity: number
  /** Number of chunks; the last may be shorter than the granularity. */
  readonly chunks: number
  /** `#levels[0]` is the bits, each further one a summary; the last has one word. */
  readonly #levels: Uint32Array[]
  #dirtyCount = 0

  constructor({ storage, size, granularity, isAllDirty = false }: BitmapOptions) {
    assert(size > 0 && Number.isInteger(Math.log2(granularity)), 'bitmap: size or granularity')
    this.size = size
    this.granularity = granularity
    this.chunks = Math.ceil(size / granularity)
    assert(this.chunks <= CHUNKS_MAX, 'bitmap: too many chunks')
    const words = Math.ceil(this.chunks / 32)
    this.#levels = [new Uint32Array(storage.buffer, storage.byteOffset, words)]
    for (let length = words; length > 1; ) {
      length = Math.ceil(length / 32)
      this.#levels.push(new Uint32Array(length))
    }
    if (isAllDirty) this.#setAll()
    else this.#rebuild()
  }

  /** Number of dirty chunks. */
  get dirtyCount(): number {
    return this.#dirtyCount
  }

  /** Bytes of the dirty chunks; the last chunk counts with its own length. */
  get dirtyBytes(): number {
    const last = this.chunks - 1
    const missing = this.chunks * this.granularity - this.size
    return this.#dirtyCount * this.granularity - (this.isDirty(last) ? missing : 0)
  }

  isDirty(chunk: number): boolean {
    return (this.#levels[0]![chunk >>> 5]! & (1 << (chunk & 31))) !== 0
  }

  /** Sets the bits of the chunks from `first` to before `end`. Returns how many were clean. */
  set(first: number, end: number): number {
    const bits = this.#levels[0]!
    let added = 0
    for (let at = first; at < end; ) {
      const word = at >>> 5
      const next = Math.min(end, (word + 1) << 5)
      const old = bits[word]!
      const now = (old | mask(at & 31, next - (word << 5))) >>> 0
      if (now !== old) {
        bits[word] = now
        added += popcount(now ^ old)
        if (old === 0) this.#summarize(word)
      }
      at = next
    }
    this.#dirtyCount += added
    return added
  }

  /** Clears the bits of the chunks from `first` to before `end`. Returns how many were dirty. */
  clear(first: number, end: number): number {
    const bits = this.#levels[0]!
    let removed = 0
    for (let at = first; at < end; ) {
      const word = at >>> 5
      const next = Math.min(end, (word + 1) << 5)
      const old = bits[word]!
      const now = (old & ~mask(at & 31, next - (word << 5))) >>> 0
      if (now !== old) {
        bits[word] = now
        removed += popcount(now ^ old)
        if (now === 0) this.#summarizeEmpty(word)
      }
      at = next
    }
    this.#dirtyCount -= removed
    return removed
  }

  /** The first dirty chunk at or after `from`, or -1. */
  nextDirty(from: number): number {
    let index = from
    for (let level = 0; level < this.#levels.length; level++) {
      const words = this.#levels[level]!
      const word = index >>> 5
      const found = word < words.length ? words[word]! & (-1 << (index & 31)) : 0
      if (found !== 0) return this.#descend(level, (word << 5) + lowestBit(found))
      index = word + 1
    }
    return -1
  }

  /** The end of the run of dirty chunks that starts at `first`, which is dirty; at most `limit`. */
  runEnd(first: number, limit: number): number {
    const bits = this.#levels[0]!
    let at = first
    while (at < limit) {
      const clean = ~bits[at >>> 5]! & (-1 << (at & 31))
      if (clean !== 0) return Math.min(limit, (at & ~31) + lowestBit(clean))
      at = (at & ~31) + 32
    }
    return limit
  }

  #descend(level: number, index: number): number {
    let at = index
    for (let below = level - 1; below >= 0; below--) {
      at = (at << 5) + lowestBit(this.#levels[below]![at]!)
    }
    return at
  }

  /** A word has become other than 0. */
  #summarize(word: number): void {
    let index = word
    for (let level = 1; level < this.#levels.length; level++) {
      const words = this.#levels[level]!
      const old = words[index >>> 5]!
      words[index >>> 5] = old | (1 << (index & 31))
      if (old !== 0) return
      index >>>= 5
    }
  }

  /** A word has become 0. */
  #summarizeEmpty(word: number): void {
    let index = word
    for (let level = 1; level < this.#levels.length; level++) {
      const words = this.#levels[level]!
      const now = words[index >>> 5]! & ~(1 << (index & 31))
      words[index >>> 5] = now
      if (now !== 0) return
      index >>>= 5
    }
  }

  /** As fast as memory can be filled: guest requests wait for it. */
  #setAll(): void {
    let count = this.chunks
    for (const words of this.#levels) {
      words.fill(0xffffffff)
      const spare = count & 31
      if (spare !== 0) words[words.length - 1] = mask(0, spare)
      count = words.length
    }
    this.#dirtyCount = this.chunks
  }

  #rebuild(): void {
    const bits = this.#levels[0]!
    const spare = this.chunks & 31
    if (spare !== 0) bits[bits.length - 1]! &= mask(0, spare)
    for (let word = 0; word < bits.length; word++) {
      const value = bits[word]!
      if (value === 0) continue
      this.#dirtyCount += popcount(value)
      this.#summarize(word)
    }
  }
}

/** Bits `from` to before `to` of a word, 0 <= from < to <= 32. */
function mask(from: number, to: number): number {
  return (-1 << from) & (-1 >>> (32 - to))
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word)
}

function popcount(word: number): number {
  let sum = word - ((word >>> 1) & 0x55555555)
  sum = (sum & 0x33333333) + ((sum >>> 2) & 0x33333333)
  return Math.imul((sum + (sum >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}
