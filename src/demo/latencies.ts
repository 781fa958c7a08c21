/** Latencies of one phase, kept whole: a demo has thousands, not millions. */

export interface LatencySummary {
  readonly count: number
  /** Milliseconds, as the two after it; 0 without any. */
  readonly p50: number
  readonly p99: number
  readonly max: number
}

export class Latencies {
  readonly #milliseconds: number[] = []

  get count(): number {
    return this.#milliseconds.length
  }

  add(milliseconds: number): void {
    this.#milliseconds.push(milliseconds)
  }

  summary(): LatencySummary {
    const sorted = Float64Array.from(this.#milliseconds).sort()
    const at = (part: number): number => sorted[Math.ceil(part * sorted.length) - 1] ?? 0
    return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) }
  }
}
