/**
 * What the target, and the disk below the copier, have to answer for: stalls, failures in a row,
 * silence. It counts and says what follows; acting on it is the job's. Pure: the time is passed in.
 */

/**
 * More failures than this in a row, or of one place, end a job. The pauses between them
 * (milliseconds): what fails during a pause was under way before it, and does not count again.
 */
export const FAILURES_MAX = 16
export const FAILURE_PAUSE_MS = 10
export const FAILURE_PAUSE_MS_MAX = 2000
/**
 * Failures further apart than this are not in a row (milliseconds). That something else succeeds
 * between two of them says nothing: a disk may be broken in one place.
 */
export const FAILURE_MEMORY_MS = 10_000
/** As much as the copier takes at once: a bad block fails from within here each time (bytes). */
export const PLACE_BYTES = 2 * 1024 * 1024
/** A target that owes an answer and gives none to anybody for this long is lost (milliseconds). */
export const SILENCE_MS_MAX = 30_000
/** Stalls closer together than this are one: the requests that were in flight when it began. */
export const SAME_STALL_MS = 400
/** Stalls further apart than this are not in a row (milliseconds). */
export const STALL_MEMORY_MS = 60_000

export class TargetRecord {
  #stalls = 0
  #stallsInARow = 0
  #lastStallAt = -Infinity
  #errors = 0
  #failuresInARow = 0
  #lastFailureAt = -Infinity
  /** By place; however long a pass takes, that of one bad block is to be the last one some day. */
  readonly #failures = new Map<number, number>()
  #pausedUntil = -Infinity
  #answeredAt = 0

  /** Requests of the guest that waited for the whole stall budget. */
  get stalls(): number {
    return this.#stalls
  }

  get errors(): number {
    return this.#errors
  }

  stallsInARow(now: number): number {
    return this.sinceStallMs(now) > STALL_MEMORY_MS ? 0 : this.#stallsInARow
  }

  sinceStallMs(now: number): number {
    return now - this.#lastStallAt
  }

  /** It is connected. */
  begins(now: number): void {
    this.#failuresInARow = 0
    this.#pausedUntil = now
    this.#failures.clear()
    this.#answeredAt = now
  }

  /** Something has succeeded. */
  answered(now: number): void {
    this.#answeredAt = now
  }

  /** It owes no answer. */
  idle(now: number): void {
    this.#answeredAt = now
  }

  isSilent(now: number): boolean {
    return now - this.#answeredAt > SILENCE_MS_MAX
  }

  stalled(now: number): void {
    this.#stalls++
    this.#notePause(now)
  }

  /** A request has failed on the target; write-blocking pauses for that as for a stall. */
  failed(now: number): void {
    this.#errors++
    this.#notePause(now)
  }

  /**
   * Something cannot be copied, at `offset` if it was the copier's. How long to wait before it is
   * tried again (milliseconds), or undefined when that was too often.
   */
  copyFailed(now: number, offset?: number): number | undefined {
    if (now < this.#pausedUntil) return this.#pausedUntil - now
    const failures = offset === undefined ? 0 : this.#countAt(offset)
    if (now - this.#lastFailureAt > FAILURE_MEMORY_MS) this.#failuresInARow = 0
    this.#lastFailureAt = now
    this.#failuresInARow++
    if (Math.max(this.#failuresInARow, failures) > FAILURES_MAX) return undefined
    const pauseMs = FAILURE_PAUSE_MS * 2 ** (this.#failuresInARow - 1)
    this.#pausedUntil = now + Math.min(FAILURE_PAUSE_MS_MAX, pauseMs)
    return this.#pausedUntil - now
  }

  #countAt(offset: number): number {
    const place = Math.floor(offset / PLACE_BYTES)
    const failures = (this.#failures.get(place) ?? 0) + 1
    this.#failures.set(place, failures)
    return failures
  }

  #notePause(now: number): void {
    if (this.sinceStallMs(now) > SAME_STALL_MS) this.#stallsInARow = this.stallsInARow(now) + 1
    this.#lastStallAt = now
  }
}
