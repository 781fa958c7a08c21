/**
 * The filter that sees every guest request and keeps the mirror's rules. It is always in the chain:
 * without tracking a write costs a branch and a count, with tracking the bits are kept, and with a
 * target writes go to both sides.
 *
 *   checked -> gate -> MirrorFilter -> source
 *                          `---------> target (write-blocking)
 *
 * Reads pass straight through. Nothing is allocated per request: records are pooled, and the pool
 * grows to the number of requests that the starters above have had in flight at once. A lent
 * request (`Request.isLent`) keeps its memory: there are never more of those than requests that
 * were in flight when the target stalled.
 */
import assert from 'node:assert/strict'
import { NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES } from 'nbd-client-ts'
import type { BlockDevice, DeviceInfo } from '../block/device.ts'
import type { Completion, Request } from '../block/request.ts'
import type { Clock } from '../io/clock.ts'
import { Deadlines } from './deadlines.ts'
import { GuestRequest, type GuestRequestOwner } from './guest-request.ts'
import type { Target } from './target.ts'
import type { Tracking } from './tracking.ts'

/**
 * Longer write zeroes follow the background rule: a target may be slow at it, and the copier zeroes
 * in slices. Bytes.
 */
export const FORWARDED_ZEROES_MAX = 1024 * 1024
export const STALL_MS_DEFAULT = 100

/** What the job wants to know of guest requests. */
export interface MirrorListener {
  /**
   * A request was kept waiting by the target for the whole budget; the background rule is in force
   * from now on.
   */
  stalled(): void
  /** A forwarded write or flush has failed on the target; the guest has not noticed. */
  targetFailed(target: Target, error: number): void
}

export class MirrorFilter implements BlockDevice, Completion, GuestRequestOwner {
  readonly info: DeviceInfo
  readonly next: BlockDevice
  readonly #clock: Clock
  readonly #deadlines: Deadlines
  readonly #free: GuestRequest[] = []
  #tracking: Tracking | undefined
  #target: Target | undefined
  #listener: MirrorListener | undefined
  #recordsInUse = 0
  #untrackedCount = 0
  #lastRequestAt = -Infinity
  #forwardedBytes = 0

  constructor(next: BlockDevice, clock: Clock) {
    this.next = next
    this.info = next.info
    this.#clock = clock
    this.#deadlines = new Deadlines(clock, STALL_MS_DEFAULT)
  }

  get tracking(): Tracking | undefined {
    return this.#tracking
  }

  get target(): Target | undefined {
    return this.#target
  }

  /**
   * Writes in flight that started before tracking did: the copier must not start before they have
   * settled.
   */
  get untrackedCount(): number {
    return this.#untrackedCount
  }

  /** When the last request came while tracking, by the clock. */
  get lastRequestAt(): number {
    return this.#lastRequestAt
  }

  /** Bytes of guest writes mirrored synchronously, ever. */
  get forwardedBytes(): number {
    return this.#forwardedBytes
  }

  /** The longest that a request may wait for the target (milliseconds). */
  get stallMs(): number {
    return this.#deadlines.budgetMs
  }

  set stallMs(budgetMs: number) {
    this.#deadlines.budgetMs = budgetMs
  }

  /**
   * Keeps the bits of `tracking` from the next request on; a bitmap left by a former process is
   * attached before the first.
   */
  attach(tracking: Tracking, listener?: MirrorListener): void {
    assert(this.#tracking === undefined || this.#tracking === tracking, 'mirror: tracks already')
    assert(this.#recordsInUse === 0 || this.#tracking !== undefined, 'mirror: attached too soon')
    this.#tracking = tracking
    this.#listener = listener
  }

  /**
   * Passes everything through again. Writes under way keep their rule to the end: until
   * `tracking.requests.idle()` nothing else may be attached, nor the storage of its bits be used
   * otherwise.
   */
  detach(): void {
    this.#tracking = undefined
    this.#target = undefined
    this.#listener = undefined
  }

  /** Mirrors writes synchronously from now on, or with undefined follows the background rule. */
  forwardTo(target: Target | undefined): void {
    assert(target === undefined || target.tracking === this.#tracking, 'mirror: not its target')
    this.#target = target
  }

  submit(request: Request): void {
    switch (request.command) {
      case NBD_CMD_WRITE:
      case NBD_CMD_WRITE_ZEROES:
      case NBD_CMD_TRIM:
        this.#write(request)
        break
      case NBD_CMD_FLUSH:
        if (this.#target === undefined) this.next.submit(request)
        else this.#take().startFlush(request, this.#target)
        break
      default:
        if (this.#tracking !== undefined) this.#lastRequestAt = this.#clock.now()
        this.next.submit(request)
    }
  }

  /** A write that started before tracking did. */
  completed(request: Request): void {
    this.#untrackedCount--
    request.complete(request.error)
  }

  async close(): Promise<void> {
    await this.next.close()
  }

  enterDeadline(record: GuestRequest): void {
    this.#deadlines.enter(record)
  }

  leaveDeadline(record: GuestRequest): void {
    this.#deadlines.leave(record)
  }

  stalled(): void {
    this.#target = undefined
    this.#listener?.stalled()
  }

  targetSettled(target: Target, error: number, length: number): void {
    if (error === 0) this.#forwardedBytes += length
    else this.#listener?.targetFailed(target, error)
  }

  recycle(record: GuestRequest): void {
    this.#recordsInUse--
    this.#free.push(record)
  }

  #write(request: Request): void {
    const tracking = this.#tracking
    if (tracking === undefined || request.length === 0) {
      this.#untrackedCount++
      request.push(this)
      this.next.submit(request)
      return
    }
    this.#lastRequestAt = this.#clock.now()
    if (this.#canForward(request, tracking)) this.#take().startBlocking(request, tracking)
    else this.#take().startBackground(request, tracking)
  }

  /**
   * Trims are never forwarded: source and target may read differently afterwards. The bits stay
   * set, and the copier sends what the source reads then, a hole as a hole.
   */
  #canForward({ command, offset, length }: Request, tracking: Tracking): boolean {
    const target = this.#target
    if (target === undefined || command === NBD_CMD_TRIM) return false
    if (command === NBD_CMD_WRITE_ZEROES) {
      if (!target.info.canWriteZeroes || length > FORWARDED_ZEROES_MAX) return false
    }
    const mask = target.info.blockSize - 1
    if ((offset & mask) !== 0 || (length & mask) !== 0) return false
    return !tracking.lock.isLate(offset, offset + length)
  }

  #take(): GuestRequest {
    this.#recordsInUse++
    return this.#free.pop() ?? new GuestRequest(this)
  }
}
