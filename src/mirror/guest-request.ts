/**
 * A guest request that changes the disk, or flushes it, on its way through the mirror. It follows
 * one rule from its start to its end:
 *
 *   background       bits set -> source -> bits set -> answered
 *   write-blocking   range locked -> bits set -> source and target at once
 *                    -> bits cleared -> unlocked -> answered
 *   ... and late     as before, but answered with the source's result at the deadline; bits and
 *                    lock stay till the target settles
 *
 * A write that is still waiting for its range at the deadline, or finds the target gone, follows
 * the background rule. The answer is always the source's. Records are pooled by the filter; a late
 * one has borrowed the guest's request until it is done.
 */
import { NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH } from 'nbd-client-ts'
import type { BlockDevice } from '../block/device.ts'
import { type Completion, Request } from '../block/request.ts'
import { Deadline } from './deadlines.ts'
import { type HoldOwner, RangeHold } from './range-lock.ts'
import type { FlushWaiter, Target } from './target.ts'
import { TrackedWrite } from './tracked-write.ts'
import type { Tracking } from './tracking.ts'

/** The filter, as its records see it. */
export interface GuestRequestOwner {
  readonly next: BlockDevice
  /** Where write-blocking writes go; undefined while the background rule is in force. */
  readonly target: Target | undefined
  enterDeadline(record: GuestRequest): void
  leaveDeadline(record: GuestRequest): void
  /** A request has been kept waiting by the target for the whole budget. */
  stalled(): void
  targetSettled(target: Target, error: number, length: number): void
  recycle(record: GuestRequest): void
}

export class GuestRequest extends Deadline implements Completion, HoldOwner, FlushWaiter {
  readonly write: TrackedWrite = new TrackedWrite()
  readonly #owner: GuestRequestOwner
  readonly #hold = new RangeHold(this)
  readonly #targetRequest = new Request()
  #request: Request = NONE
  #tracking!: Tracking
  #target: Target | undefined
  #isFlush = false
  #isSourcePending = false
  #isTargetPending = false
  #isAnswered = false
  #targetError = 0

  constructor(owner: GuestRequestOwner) {
    super()
    this.#owner = owner
  }

  /** The source alone. */
  startBackground(request: Request, tracking: Tracking): void {
    this.#begin(request, tracking)
    this.#followBackground()
  }

  /** The source and the target, once the range is free. */
  startBlocking(request: Request, tracking: Tracking): void {
    this.#begin(request, tracking)
    this.#owner.enterDeadline(this)
    this.#hold.offset = this.write.offset
    this.#hold.end = this.write.end
    if (tracking.lock.acquire(this.#hold)) this.granted()
  }

  /** A flush of both. */
  startFlush(request: Request, target: Target): void {
    this.#begin(request, target.tracking)
    this.#owner.enterDeadline(this)
    this.#target = target
    this.#isSourcePending = true
    this.#isTargetPending = true
    request.push(this)
    this.#owner.next.submit(request)
    target.flush(this)
  }

  granted(): void {
    const target = this.#owner.target
    if (target === undefined || target.tracking !== this.#tracking) {
      this.#owner.leaveDeadline(this)
      this.#tracking.lock.release(this.#hold)
      this.#followBackground()
    } else {
      this.#forward(target)
    }
  }

  completed(request: Request): void {
    if (request === this.#targetRequest) {
      this.#isTargetPending = false
      this.#targetError = request.error
      this.#owner.targetSettled(this.#target!, request.error, request.length)
    } else {
      this.#isSourcePending = false
      if (this.#target === undefined) {
        this.#tracking.settleBackground(this.write)
        this.#finish()
        return
      }
    }
    this.#settle()
  }

  targetFlushed(error: number): void {
    this.#isTargetPending = false
    this.#owner.targetSettled(this.#target!, error, 0)
    this.#settle()
  }

  expired(): void {
    if (this.#hold.state === 'waiting') {
      this.#tracking.lock.leave(this.#hold)
      this.#owner.stalled()
      this.#followBackground()
    } else if (this.#isTargetPending) {
      if (this.#hold.state === 'active') {
        this.#tracking.stall(this.write)
        this.#tracking.lock.markLate(this.#hold)
      }
      this.#owner.stalled()
      if (!this.#isSourcePending) this.#answerLate()
    }
  }

  #begin(request: Request, tracking: Tracking): void {
    tracking.requests.enter()
    this.#request = request
    this.#tracking = tracking
    this.#target = undefined
    this.#isFlush = request.command === NBD_CMD_FLUSH
    this.#isAnswered = false
    this.#targetError = 0
    this.write.setRange(request.offset, request.length, tracking.bitmap.granularity)
  }

  #followBackground(): void {
    const request = this.#request
    this.#tracking.startBackground(this.write)
    request.push(this)
    this.#owner.next.submit(request)
  }

  #forward(target: Target): void {
    const request = this.#request
    const twin = this.#targetRequest
    this.#target = target
    this.#isSourcePending = true
    this.#isTargetPending = true
    this.#tracking.startBlocking(this.write)
    // A target without FUA has the flush before switchover; the source's durability is what the
    // guest relies on.
    const canFua = target.info.canFua ? NBD_CMD_FLAG_FUA : 0
    const flags = request.flags & ~NBD_CMD_FLAG_FAST_ZERO & (canFua | ~NBD_CMD_FLAG_FUA)
    twin.set(request.command, flags, request.offset, request.length)
    twin.memory = request.memory
    twin.memoryOffset = request.memoryOffset
    twin.push(this)
    request.push(this)
    this.#owner.next.submit(request)
    target.device.submit(twin)
  }

  /** One side has settled. */
  #settle(): void {
    if (this.#isSourcePending) return
    if (!this.#isTargetPending) {
      this.#finishBoth()
    } else if (!this.isEntered && !this.#isAnswered) {
      this.#answerLate()
    }
  }

  #finishBoth(): void {
    if (this.#hold.state === 'active') {
      const isMirrored = this.#request.error === 0 && this.#targetError === 0
      this.#tracking.settleBlocking(this.write, isMirrored)
      this.#tracking.lock.release(this.#hold)
    }
    this.#finish()
  }

  /** The deadline is over and the source has settled. */
  #answerLate(): void {
    const request = this.#request
    this.#isAnswered = true
    if (!this.#isFlush) request.lend()
    request.complete(request.error)
  }

  /** Recycles the record first: the completion may bring the next request. */
  #finish(): void {
    const request = this.#request
    const isAnswered = this.#isAnswered
    this.#request = NONE
    this.#target = undefined
    this.#targetRequest.memory = undefined
    this.#owner.leaveDeadline(this)
    this.#tracking.requests.leave()
    this.#owner.recycle(this)
    if (!isAnswered) request.complete(request.error)
    else if (!this.#isFlush) request.giveBack()
  }
}

const NONE = new Request()
