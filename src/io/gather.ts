/**
 * A gather in the kernel's own form: a struct msghdr and the struct iovec array it points to, in
 * one piece of memory that both engines read. Whoever made it fills it, lends it to a send, and
 * clears it afterwards: a partial send moves the entries forward, so that a sent gather is spent.
 * The memory it lists is borrowed until the send settles.
 */
import assert from 'node:assert'
import type { Gather } from './engine.ts'
import { addressOf } from './libc.ts'
import type { Memory } from './memory.ts'

/** Most entries the kernel takes at once (IOV_MAX). */
export const GATHER_ENTRIES_MAX = 1024

const MSGHDR_WORDS = 16
const IOVEC_WORDS = 4
const MSG_IOV = 4
const MSG_IOVLEN = 6

export class IovecGather implements Gather {
  readonly entriesMax: number
  /** Of the struct msghdr. */
  readonly address: number
  readonly #words: Uint32Array
  readonly #memories: (Memory | undefined)[]
  /** Offset in its memory, of each entry as it was pushed. */
  readonly #offsets: Uint32Array
  #count = 0
  #length = 0
  #first = 0
  #isSpent = false

  constructor(entriesMax: number) {
    assert(
      Number.isInteger(entriesMax) && entriesMax > 0 && entriesMax <= GATHER_ENTRIES_MAX,
      `gather: 1 to ${GATHER_ENTRIES_MAX} entries`,
    )
    this.entriesMax = entriesMax
    this.#words = new Uint32Array(new ArrayBuffer((MSGHDR_WORDS + entriesMax * IOVEC_WORDS) * 4))
    this.#memories = new Array<Memory | undefined>(entriesMax).fill(undefined)
    this.#offsets = new Uint32Array(entriesMax)
    this.address = addressOf(this.#words)
  }

  get count(): number {
    return this.#count
  }

  get length(): number {
    return this.#length
  }

  push(memory: Memory, at: number, length: number): void {
    assert(!this.#isSpent, 'gather: clear it before it is filled again')
    assert(this.#count < this.entriesMax, 'gather: full')
    assert(
      at >= 0 && length >= 0 && at + length <= memory.bytes.length,
      'gather: outside its memory',
    )
    const word = MSGHDR_WORDS + this.#count * IOVEC_WORDS
    this.#setBase(word, memory.address + at)
    this.#words[word + 2] = length
    this.#words[word + 3] = 0
    this.#memories[this.#count] = memory
    this.#offsets[this.#count] = at
    this.#count++
    this.#length += length
  }

  clear(): void {
    for (let i = 0; i < this.#count; i++) this.#memories[i] = undefined
    this.#count = 0
    this.#length = 0
    this.#isSpent = false
  }

  /** Begins a send: the msghdr now describes the whole gather. */
  start(): void {
    assert(!this.#isSpent, 'gather: sent twice without a clear')
    this.#isSpent = true
    this.#first = 0
    this.#describe()
  }

  /** Leaves out `sent` further bytes at the front. */
  advance(sent: number): void {
    let rest = sent
    while (rest > 0) {
      const word = MSGHDR_WORDS + this.#first * IOVEC_WORDS
      const length = this.#words[word + 2]!
      if (length > rest) {
        const base = this.#words[word]! + this.#words[word + 1]! * 2 ** 32
        this.#setBase(word, base + rest)
        this.#words[word + 2] = length - rest
        break
      }
      rest -= length
      this.#first++
    }
    this.#describe()
  }

  /** Where entry `index` is, for whoever reads it in place of the kernel. */
  addressAt(index: number): number {
    const word = MSGHDR_WORDS + index * IOVEC_WORDS
    return this.#words[word]! + this.#words[word + 1]! * 2 ** 32
  }

  /** Bytes of entry `index`. */
  lengthAt(index: number): number {
    return this.#words[MSGHDR_WORDS + index * IOVEC_WORDS + 2]!
  }

  /** The bytes of entry `index`, for an engine that cannot use addresses. Allocates. */
  view(index: number): Uint8Array {
    const at = this.#offsets[index]!
    return this.#memories[index]!.bytes.subarray(at, at + this.lengthAt(index))
  }

  #describe(): void {
    const iovec = this.address + (MSGHDR_WORDS + this.#first * IOVEC_WORDS) * 4
    this.#words[MSG_IOV] = iovec >>> 0
    this.#words[MSG_IOV + 1] = (iovec / 2 ** 32) >>> 0
    this.#words[MSG_IOVLEN] = this.#count - this.#first
  }

  #setBase(word: number, address: number): void {
    this.#words[word] = address >>> 0
    this.#words[word + 1] = (address / 2 ** 32) >>> 0
  }
}
