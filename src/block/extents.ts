/**
 * The answer to a block status: adjacent extents with their base:allocation flags, from the
 * request's offset on. Owned and reused by the starter of the request. Neighbours with equal flags
 * are merged as they are added, so consumers see maximal extents.
 */

/**
 * Most extents one answer holds; a longer answer is cut short, which the protocol allows (NBD
 * proto, block status).
 */
export const EXTENTS_MAX = 1024

export class Extents {
  readonly #lengths = new Float64Array(EXTENTS_MAX)
  readonly #flags = new Uint32Array(EXTENTS_MAX)
  #count = 0

  /** Number of extents. */
  get count(): number {
    return this.#count
  }

  /** Bytes of extent `index`. */
  length(index: number): number {
    return this.#lengths[index]!
  }

  /** NBD_STATE_HOLE and NBD_STATE_ZERO of extent `index`. */
  flags(index: number): number {
    return this.#flags[index]!
  }

  /** Appends an extent; false when there is no room for it. */
  add(length: number, flags: number): boolean {
    const last = this.#count - 1
    if (last >= 0 && this.#flags[last] === flags) {
      this.#lengths[last]! += length
      return true
    }
    if (this.#count === EXTENTS_MAX) return false
    this.#lengths[this.#count] = length
    this.#flags[this.#count] = flags
    this.#count++
    return true
  }

  clear(): void {
    this.#count = 0
  }
}
