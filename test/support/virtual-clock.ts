/** Time that stands still until the test moves it. */
import type { Clock, Timer } from '../../src/io/clock.ts'

interface Armed {
  at: number
  readonly expired: () => void
}

export class VirtualClock implements Clock {
  #now = 0
  readonly #armed = new Set<Armed>()

  now(): number {
    return this.#now
  }

  createTimer(expired: () => void): Timer {
    const timer: Armed = { at: 0, expired }
    return {
      arm: delayMs => {
        timer.at = this.#now + delayMs
        this.#armed.add(timer)
      },
      disarm: () => {
        this.#armed.delete(timer)
      },
    }
  }

  /** Timers armed. */
  get armed(): number {
    return this.#armed.size
  }

  /** Moves time on, running each timer that expires at its own time, the earliest first. */
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const due = [...this.#armed].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (due === undefined) break
      this.#now = Math.max(this.#now, due.at)
      this.#armed.delete(due)
      due.expired()
    }
    this.#now = end
  }
}
