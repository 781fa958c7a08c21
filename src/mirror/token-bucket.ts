/**
 * A rate limit. What is spent may exceed what is there; then nothing more is to be spent until the
 * debt is paid, so the rate holds over any longer time whatever the size of a piece. Pure: the time
 * is passed in.
 */

/**
 * The bucket holds what flows in during this time (milliseconds), so that a pause is not followed
 * by a flood.
 */
const BURST_MS = 50

export class TokenBucket {
  #ratePerMs = 0
  #tokens = 0
  #at = 0

  /** Bytes per second; 0 is no limit. */
  get rate(): number {
    return this.#ratePerMs * 1000
  }

  setRate(bytesPerSecond: number, now: number): void {
    this.#refill(now)
    this.#ratePerMs = bytesPerSecond / 1000
    this.#tokens = Math.min(this.#tokens, this.#ratePerMs * BURST_MS)
  }

  spend(bytes: number, now: number): void {
    if (this.#ratePerMs === 0) return
    this.#refill(now)
    this.#tokens -= bytes
  }

  /** Milliseconds until something may be spent; 0 for at once. */
  delayMs(now: number): number {
    if (this.#ratePerMs === 0) return 0
    this.#refill(now)
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#ratePerMs
  }

  #refill(now: number): void {
    const limit = this.#ratePerMs * BURST_MS
    this.#tokens = Math.min(limit, this.#tokens + (now - this.#at) * this.#ratePerMs)
    if (this.#ratePerMs === 0) this.#tokens = 0
    this.#at = now
  }
}
