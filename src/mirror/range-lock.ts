/**
 * Locks on byte ranges. A hold that overlaps one which is active, or one which came before it and
 * still waits, waits its turn: first come, first served, so neither the copier nor a guest write
 * starves.
 *
 * A hold belongs to whoever made it (a pooled record), who asks for it again and again: nothing is
 * allocated here. The sets are small, as large as the requests in flight, and are scanned.
 * Invariant: no two active holds overlap.
 */
import assert from 'node:assert/strict'

/** Hears that a hold which waited is active now. May release and acquire, also this one. */
export interface HoldOwner {
  granted(hold: RangeHold): void
}

export class RangeHold {
  readonly owner: HoldOwner
  /** Bytes, `end` not included; set by the owner while the hold is idle. */
  offset = 0
  end = 0
  /**
   * An active hold whose target write has missed its deadline: nobody should wait for it. See
   * `RangeLock.markLate`.
   */
  isLate = false
  state: 'idle' | 'waiting' | 'active' = 'idle'
  /** For the lock alone. */
  index = -1
  previous: RangeHold | undefined = undefined
  next: RangeHold | undefined = undefined

  constructor(owner: HoldOwner) {
    this.owner = owner
  }

  overlaps(offset: number, end: number): boolean {
    return this.offset < end && offset < this.end
  }
}

export class RangeLock {
  readonly #active: RangeHold[] = []
  #first: RangeHold | undefined
  #last: RangeHold | undefined
  #lateCount = 0

  /** Holds that are active and late. */
  get lateCount(): number {
    return this.#lateCount
  }

  /** Holds that wait. */
  get waitingCount(): number {
    let count = 0
    for (let hold = this.#first; hold !== undefined; hold = hold.next) count++
    return count
  }

  get activeCount(): number {
    return this.#active.length
  }

  /**
   * Makes the hold active and returns true, or queues it and returns false: then `granted` follows,
   * unless it leaves.
   */
  acquire(hold: RangeHold): boolean {
    assert(hold.state === 'idle', 'range lock: hold is in use')
    if (this.#isBlocked(hold, undefined)) {
      this.#enqueue(hold)
      return false
    }
    this.#activate(hold)
    return true
  }

  /**
   * Ends an active hold; those which waited for it and can go on hear `granted` before this
   * returns.
   */
  release(hold: RangeHold): void {
    assert(hold.state === 'active', 'range lock: released and not held')
    const last = this.#active.pop()!
    if (last !== hold) {
      this.#active[hold.index] = last
      last.index = hold.index
    }
    if (hold.isLate) this.#lateCount--
    hold.isLate = false
    hold.state = 'idle'
    if (this.#first !== undefined) this.#grant(hold.offset, hold.end)
  }

  /** Leaves the queue without having been granted. */
  leave(hold: RangeHold): void {
    assert(hold.state === 'waiting', 'range lock: left and not waiting')
    this.#dequeue(hold)
    hold.state = 'idle'
    if (this.#first !== undefined) this.#grant(hold.offset, hold.end)
  }

  /** Says of an active hold that it may last long. */
  markLate(hold: RangeHold): void {
    assert(hold.state === 'active' && !hold.isLate, 'range lock: late and not held')
    hold.isLate = true
    this.#lateCount++
  }

  /** True if a late hold overlaps the range. */
  isLate(offset: number, end: number): boolean {
    if (this.#lateCount === 0) return false
    for (const hold of this.#active) {
      if (hold.isLate && hold.overlaps(offset, end)) return true
    }
    return false
  }

  #isBlocked({ offset, end }: RangeHold, before: RangeHold | undefined): boolean {
    for (let i = 0; i < this.#active.length; i++) {
      if (this.#active[i]!.overlaps(offset, end)) return true
    }
    for (let hold = this.#first; hold !== before; hold = hold!.next) {
      if (hold!.overlaps(offset, end)) return true
    }
    return false
  }

  /** Lets those go on whom a hold on this range alone kept waiting. */
  #grant(offset: number, end: number): void {
    let hold = this.#first
    while (hold !== undefined) {
      if (hold.overlaps(offset, end) && !this.#isBlocked(hold, hold)) {
        this.#dequeue(hold)
        this.#activate(hold)
        hold.owner.granted(hold)
        // The owner may have changed the queue in any way.
        hold = this.#first
      } else {
        hold = hold.next
      }
    }
  }

  #activate(hold: RangeHold): void {
    hold.state = 'active'
    hold.index = this.#active.push(hold) - 1
  }

  #enqueue(hold: RangeHold): void {
    hold.state = 'waiting'
    hold.previous = this.#last
    hold.next = undefined
    if (this.#last === undefined) this.#first = hold
    else this.#last.next = hold
    this.#last = hold
  }

  #dequeue(hold: RangeHold): void {
    if (hold.previous === undefined) this.#first = hold.next
    else hold.previous.next = hold.next
    if (hold.next === undefined) this.#last = hold.previous
    else hold.next.previous = hold.previous
    hold.previous = undefined
    hold.next = undefined
  }
}
