/**
 * Latencies as counts of values (nanoseconds), as fio's own histograms are: they can be added up
 * over repetitions without losing the tail, which medians of percentiles would.
 */

/** The shares at which a latency curve is drawn; the last is the maximum. */
const CURVE_SHARES = [
  0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999, 1,
] as const

/** 1 - 0.9 is a little less than 0.1. */
const ROUNDING = 1e-9

/** The share of requests, and the latency in microseconds that they do not exceed. */
export type CurvePoint = readonly [share: number, microseconds: number]

export class Histogram {
  readonly #counts = new Map<number, number>()
  #total = 0

  get total(): number {
    return this.#total
  }

  add(nanoseconds: number, count = 1): void {
    this.#counts.set(nanoseconds, (this.#counts.get(nanoseconds) ?? 0) + count)
    this.#total += count
  }

  addAll(other: Histogram): void {
    for (const [nanoseconds, count] of other.#counts) this.add(nanoseconds, count)
  }

  /** The least value that the share `q` of all values does not exceed, in microseconds. */
  microseconds(q: number): number {
    const wanted = Math.max(1, Math.ceil(q * this.#total))
    let seen = 0
    for (const value of [...this.#counts.keys()].sort((a, b) => a - b)) {
      seen += this.#counts.get(value)!
      if (seen >= wanted) return value / 1000
    }
    return Number.NaN
  }

  /**
   * Points of the curve, left to right. Shares that fewer than one request stands for are left out:
   * the tail of a short run is not known.
   */
  curve(): CurvePoint[] {
    return CURVE_SHARES.filter(
      share => share === 1 || (1 - share) * this.#total >= 1 - ROUNDING,
    ).map(
      share => [share === 1 ? 1 - 1 / (this.#total + 1) : share, this.microseconds(share)] as const,
    )
  }
}
