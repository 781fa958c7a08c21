/**
 * Deadlines that all come the same time after their start: a list in the order of arrival and one
 * timer, which is armed for the oldest. Entering and leaving touch the list alone. The records
 * belong to their owners.
 */
import type { Clock, Timer } from '../io/clock.ts'

/** What is due within this time is due (milliseconds): sums of fractions are never exact. */
const ROUNDING_MS = 0.001

export abstract class Deadline {
  startedAt = 0
  isEntered = false
  /** For the list alone. */
  older: Deadline | undefined = undefined
  younger: Deadline | undefined = undefined

  /** The time is over; it has left the list. */
  abstract expired(): void
}

export class Deadlines {
  /** Milliseconds from start to deadline; changing it applies to those that wait. */
  budgetMs: number
  readonly #clock: Clock
  readonly #timer: Timer
  #oldest: Deadline | undefined
  #youngest: Deadline | undefined
  #isArmed = false

  constructor(clock: Clock, budgetMs: number) {
    this.#clock = clock
    this.budgetMs = budgetMs
    this.#timer = clock.createTimer(() => this.#tick())
  }

  enter(deadline: Deadline): void {
    deadline.startedAt = this.#clock.now()
    deadline.isEntered = true
    deadline.older = this.#youngest
    deadline.younger = undefined
    if (this.#youngest === undefined) this.#oldest = deadline
    else this.#youngest.younger = deadline
    this.#youngest = deadline
    if (!this.#isArmed) this.#arm(this.budgetMs)
  }

  /** Harmless for one that has expired or left. */
  leave(deadline: Deadline): void {
    if (!deadline.isEntered) return
    deadline.isEntered = false
    if (deadline.older === undefined) this.#oldest = deadline.younger
    else deadline.older.younger = deadline.younger
    if (deadline.younger === undefined) this.#youngest = deadline.older
    else deadline.younger.older = deadline.older
    deadline.older = undefined
    deadline.younger = undefined
  }

  #tick(): void {
    this.#isArmed = false
    const now = this.#clock.now()
    while (this.#oldest !== undefined) {
      const deadline = this.#oldest
      const leftMs = deadline.startedAt + this.budgetMs - now
      if (leftMs > ROUNDING_MS) {
        this.#arm(leftMs)
        return
      }
      this.leave(deadline)
      deadline.expired()
    }
  }

  #arm(delayMs: number): void {
    this.#isArmed = true
    this.#timer.arm(delayMs)
  }
}
