/**
 * A rate from a running total: a mean over about the last second in which recent samples weigh
 * more. Pure: the time is passed in.
 */

const WINDOW_MS = 200
const WEIGHT = 0.3

export class RateMeter {
  #rate = 0
  #total = 0
  #at = -Infinity

  /** Per second; 0 before the first window is over. */
  get rate(): number {
    return this.#rate
  }

  /** To be called now and then with the total so far. */
  sample(now: number, total: number): void {
    const elapsedMs = now - this.#at
    if (elapsedMs === Infinity) {
      this.#at = now
      this.#total = total
    }
    if (elapsedMs < WINDOW_MS || elapsedMs === Infinity) return
    const current = ((total - this.#total) / elapsedMs) * 1000
    this.#rate = this.#rate === 0 ? current : this.#rate + WEIGHT * (current - this.#rate)
    this.#at = now
    this.#total = total
  }
}
