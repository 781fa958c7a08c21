/**
 * How much of the copy may be under way at once. Guest requests come first: while there are any it
 * is little, so that they find the disk and the processor free. On a long way that would be too
 * little: most of it is on the way then, where it hinders nobody. So it grows with the shortest
 * time that an operation has taken, which a crowd on this machine cannot make longer.
 */
import type { Clock } from '../io/clock.ts'
import type { GuestActivity } from './copier-options.ts'
import type { Tracking } from './tracking.ts'

/** Operations, and bytes of each, while there are guest requests and the target is near. */
export const BUSY_OPERATIONS_MAX = 2
export const BUSY_LENGTH_MAX = 256 * 1024
/**
 * How long after a guest request the copier still holds back (milliseconds): a guest that waits
 * for the copier must not count as idle for that.
 */
export const BUSY_MS = 20
/** Where no operation takes less than this, more may be under way (milliseconds). */
const NEAR_MS = 5
/** How many times as much. */
const FAR_MAX = 8

export class Pace {
  readonly #clock: Clock
  readonly #guest: GuestActivity
  readonly #tracking: Pick<Tracking, 'writesCount'>
  readonly #operationsMax: number
  readonly #lengthMax: number
  #shortestMs = Infinity

  /** `operationsMax` of `lengthMax` bytes: what there is memory for. */
  constructor(
    {
      clock,
      guest,
      tracking,
    }: { clock: Clock; guest: GuestActivity; tracking: Pick<Tracking, 'writesCount'> },
    { operationsMax, lengthMax }: { operationsMax: number; lengthMax: number },
  ) {
    this.#clock = clock
    this.#guest = guest
    this.#tracking = tracking
    this.#operationsMax = operationsMax
    this.#lengthMax = lengthMax
  }

  /** To another target, which may be nearer or further. */
  begin(): void {
    this.#shortestMs = Infinity
  }

  /** An operation that began then has copied something. */
  tookSince(startedAt: number): void {
    this.#shortestMs = Math.min(this.#shortestMs, this.#clock.now() - startedAt)
  }

  get operationsMax(): number {
    if (!this.#isGuestBusy()) return this.#operationsMax
    return Math.min(this.#operationsMax, Math.ceil(BUSY_OPERATIONS_MAX * this.#distance()))
  }

  /** Of one operation, bytes. */
  get lengthMax(): number {
    if (!this.#isGuestBusy()) return this.#lengthMax
    const bytes = BUSY_OPERATIONS_MAX * BUSY_LENGTH_MAX * this.#distance()
    return Math.min(this.#lengthMax, bytes / this.operationsMax)
  }

  #isGuestBusy(): boolean {
    return this.#tracking.writesCount > 0 || this.#clock.now() - this.#guest.lastRequestAt < BUSY_MS
  }

  /** 1: near. */
  #distance(): number {
    if (this.#shortestMs === Infinity) return 1
    return Math.min(FAR_MAX, Math.max(1, this.#shortestMs / NEAR_MS))
  }
}
