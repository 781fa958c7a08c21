/**
 * Time as a parameter. The engines implement it for the data thread, the simulation implements it
 * on virtual time; nothing else in the data path reads a clock or sets a timer.
 */
export interface Clock {
  /**
   * Monotonic time in milliseconds, with a fraction. Cheap: an engine reads the clock once a turn.
   */
  now(): number
  /**
   * A timer that is made once and armed often. `expired` runs on the clock's own thread, never
   * inside `arm`.
   */
  createTimer(expired: () => void): Timer
}

export interface Timer {
  /** Expire once, `delayMs` from now. An armed timer is armed anew. */
  arm(delayMs: number): void
  /** Do not expire. Harmless on a timer that is not armed. */
  disarm(): void
}
