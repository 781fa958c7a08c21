/**
 * The timers of one engine in a binary heap. Timers that guard requests are armed and disarmed far
 * more often than they expire, so both are lazy: disarming or arming for later only notes the new
 * time, and the heap learns of it when the old time comes. Invariant: `key` of a queued timer is
 * never later than its `due`. One thread; callbacks run from `expire` only.
 */
import assert from 'node:assert'
import type { Timer } from './clock.ts'

/** What a timer queue needs from its engine. */
export interface TimerHost {
  now(): number
  /** A timer was armed for `due`; called when the earliest time may have changed. */
  armed(due: number): void
}

const NOT_QUEUED = -1
const NOT_ARMED = Number.POSITIVE_INFINITY

class QueuedTimer implements Timer {
  readonly #queue: TimerQueue
  readonly expired: () => void
  due = NOT_ARMED
  /**
   * Order of arming: decides between equal times, and keeps a timer that arms itself out of the
   * running round.
   */
  sequence = 0
  key = NOT_ARMED
  keySequence = 0
  position = NOT_QUEUED

  constructor(queue: TimerQueue, expired: () => void) {
    this.#queue = queue
    this.expired = expired
  }

  arm(delayMs: number): void {
    this.#queue.arm(this, delayMs)
  }

  disarm(): void {
    this.due = NOT_ARMED
  }
}

export class TimerQueue {
  readonly #host: TimerHost
  readonly #heap: QueuedTimer[] = []
  #sequence = 0

  constructor(host: TimerHost) {
    this.#host = host
  }

  create(expired: () => void): Timer {
    return new QueuedTimer(this, expired)
  }

  /**
   * When `expire` has to run next (the clock's milliseconds); infinite without timers. May be
   * early, never late.
   */
  get next(): number {
    return this.#heap[0]?.key ?? NOT_ARMED
  }

  arm(timer: QueuedTimer, delayMs: number): void {
    assert(delayMs >= 0, 'timer: delay is not negative')
    timer.due = this.#host.now() + delayMs
    timer.sequence = ++this.#sequence
    if (timer.position === NOT_QUEUED) {
      timer.position = this.#heap.length
      this.#heap.push(timer)
    } else if (timer.key <= timer.due) {
      return
    }
    timer.key = timer.due
    timer.keySequence = timer.sequence
    this.#up(timer)
    this.#host.armed(timer.due)
  }

  /**
   * Runs what is due at `now`, in order of time, then of arming. Timers armed by a callback wait
   * for the next round.
   */
  expire(now: number): void {
    const last = this.#sequence
    for (;;) {
      const timer = this.#heap[0]
      if (timer === undefined || timer.key > now) return
      if (timer.key < timer.due || timer.keySequence < timer.sequence) {
        this.#postpone(timer)
      } else if (timer.sequence > last) {
        return
      } else {
        timer.due = NOT_ARMED
        this.#postpone(timer)
        timer.expired()
      }
    }
  }

  /** Disarms all. */
  clear(): void {
    for (const timer of this.#heap) {
      timer.due = NOT_ARMED
      timer.position = NOT_QUEUED
    }
    this.#heap.length = 0
  }

  /** Moves the first timer to its true time, or out of the heap. */
  #postpone(timer: QueuedTimer): void {
    timer.key = timer.due
    timer.keySequence = timer.sequence
    if (timer.due !== NOT_ARMED) {
      this.#down(timer)
      return
    }
    timer.position = NOT_QUEUED
    const last = this.#heap.pop()!
    if (last === timer) return
    this.#place(last, 0)
    this.#down(last)
  }

  #place(timer: QueuedTimer, position: number): void {
    this.#heap[position] = timer
    timer.position = position
  }

  #up(timer: QueuedTimer): void {
    while (timer.position > 0) {
      const at = timer.position
      const parent = this.#heap[(at - 1) >> 1]!
      if (!isBefore(timer, parent)) return
      this.#place(timer, parent.position)
      this.#place(parent, at)
    }
  }

  #down(timer: QueuedTimer): void {
    for (;;) {
      const at = timer.position
      const left = this.#heap[2 * at + 1]
      const right = this.#heap[2 * at + 2]
      if (left === undefined) return
      const child = right !== undefined && isBefore(right, left) ? right : left
      if (!isBefore(child, timer)) return
      this.#place(timer, child.position)
      this.#place(child, at)
    }
  }
}

function isBefore(a: QueuedTimer, b: QueuedTimer): boolean {
  return a.key < b.key || (a.key === b.key && a.keySequence < b.keySequence)
}
