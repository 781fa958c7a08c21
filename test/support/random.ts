/**
 * Seeded randomness: a test prints its seed, and the seed repeats the test. xorshift128, seeded by
 * splitmix32.
 */
export class Random {
  readonly seed: number
  readonly #state = new Uint32Array(4)

  constructor(seed: number) {
    this.seed = seed
    let s = seed >>> 0
    for (let i = 0; i < 4; i++) {
      s = (s + 0x9e3779b9) >>> 0
      let z = s
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
      this.#state[i] = (z ^ (z >>> 16)) >>> 0
    }
  }

  /** An integer of 32 bits, unsigned. */
  u32(): number {
    const s = this.#state
    let t = s[3]!
    t ^= t << 11
    t ^= t >>> 8
    s[3] = s[2]!
    s[2] = s[1]!
    s[1] = s[0]!
    s[0] = (t ^ s[0]! ^ (s[0]! >>> 19)) >>> 0
    return s[0]!
  }

  /** An integer from 0 to below `limit`. */
  below(limit: number): number {
    return Math.floor((this.u32() / 2 ** 32) * limit)
  }

  /** True `probability` of the time. */
  chance(probability: number): boolean {
    return this.u32() / 2 ** 32 < probability
  }

  bytes(length: number): Uint8Array {
    const bytes = new Uint8Array(length)
    const words = new Uint32Array(bytes.buffer, 0, length >>> 2)
    for (let i = 0; i < words.length; i++) words[i] = this.u32()
    for (let i = words.length * 4; i < length; i++) bytes[i] = this.u32()
    return bytes
  }
}
