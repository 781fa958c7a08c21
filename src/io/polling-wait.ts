/**
 * Waits for completions, at first by asking again and again: to fall asleep and to be woken up can
 * take longer than the next request of a client that sends one at a time takes to come. How long it
 * asks adapts as in QEMU's event loop (its poll-max-ns): it doubles while waits are so short that
 * they could have been asked away, and is halved by each that is not.
 */
import { availableParallelism } from 'node:os'
import type { Ring } from './ring.ts'

/** Longest time of asking (ms). */
export const POLL_MS_MAX = 0.05
const POLL_MS_MIN = POLL_MS_MAX / 8

export class PollingWait {
  readonly #ring: Pick<Ring, 'enter' | 'available'>
  readonly #now: () => number
  /** On a single processor whoever we wait for runs only when we sleep. */
  readonly #pollMsMax: number
  #pollMs = 0

  constructor(
    ring: Pick<Ring, 'enter' | 'available'>,
    now = () => performance.now(),
    processors = availableParallelism(),
  ) {
    this.#ring = ring
    this.#now = now
    this.#pollMsMax = processors > 1 ? POLL_MS_MAX : 0
  }

  /** Submits, and waits for `count` completions, `waitMs` at most. */
  enter(waitMs: number, count: number): void {
    if (waitMs === 0) {
      this.#ring.enter(0, count)
      return
    }
    const start = this.#now()
    if (this.#pollMs > 0) {
      const end = start + Math.min(waitMs, this.#pollMs)
      do {
        this.#ring.enter(0, count)
        if (this.#ring.available >= count) return
      } while (this.#now() < end)
    }
    this.#ring.enter(waitMs, count)
    if (this.#now() - start <= this.#pollMsMax) {
      this.#pollMs = Math.min(this.#pollMsMax, Math.max(POLL_MS_MIN, this.#pollMs * 2))
    } else {
      this.#pollMs = this.#pollMs > POLL_MS_MIN ? this.#pollMs / 2 : 0
    }
  }
}
