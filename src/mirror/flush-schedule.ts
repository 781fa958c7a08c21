/**
 * When the target is flushed in the midst of a mirror: now and then, so that the last flush, for
 * which the clients wait, is short, and little has to be sent again when the target is lost. Pure.
 */

/** The longest time (milliseconds), and the most bytes, from one flush to the next. */
export const FLUSH_MS = 1000
export const FLUSH_BYTES = 256 * 1024 * 1024

export class FlushSchedule {
  #flushedAt = 0
  #flushedBytes = 0

  /** `bytes`: sent to the target, ever. `fill`: how much of the flush log is used, from 0 to 1. */
  isDue(now: number, bytes: number, fill: number): boolean {
    if (fill === 0) return false
    const isLong = now - this.#flushedAt >= FLUSH_MS
    return isLong || bytes - this.#flushedBytes >= FLUSH_BYTES || fill > 0.5
  }

  flushed(now: number, bytes: number): void {
    this.#flushedAt = now
    this.#flushedBytes = bytes
  }
}
