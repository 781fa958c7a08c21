/**
 * One copy of one run of dirty chunks, from the lock to the outcome:
 *
 *   lock -> claim, clear bits -> read the source -> write (or zero) the target -> record -> unlock
 *                             -> ask what is zero -> ask the target, zero it   ->
 *
 * The bits are cleared before the source is read, so that a write which comes later leaves its
 * mark. Operations are pooled by the copier; each has memory and a claim slot of its own, and one
 * request which it uses for one step after the other.
 */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_STATE_ZERO,
} from 'nbd-client-ts'
import type { BlockDevice } from '../block/device.ts'
import { ENOTSUP, ESHUTDOWN } from '../block/errno.ts'
import { Extents } from '../block/extents.ts'
import { type Completion, Request } from '../block/request.ts'
import type { Memory } from '../io/memory.ts'
import { type HoldOwner, RangeHold } from './range-lock.ts'
import type { Target } from './target.ts'
import type { Tracking } from './tracking.ts'
import { isZero } from './zero-scan.ts'

/** Zeroes that may take as long as writing them are sent in pieces no longer than this (bytes). */
export const SLOW_ZEROES_MAX = 4 * 1024 * 1024

/**
 * `copied`, `zeroed` and `skipped` are successes. `source-failed` and `target-failed` carry an
 * errno. `refused`: not in this way, try it in smaller pieces. `nothing`: there was nothing to do,
 * or a guest write was in the way.
 */
export type CopyOutcome =
  | 'copied'
  | 'zeroed'
  | 'skipped'
  | 'source-failed'
  | 'target-failed'
  | 'refused'
  | 'nothing'

export interface CopyOperationOwner {
  readonly source: BlockDevice
  readonly tracking: Tracking
  /** False when what has not begun had better not begin. */
  readonly isRunning: boolean
  /** Bytes that go to the target at its expense. */
  spend(bytes: number): void
  settled(operation: CopyOperation, outcome: CopyOutcome, error: number): void
}

export class CopyOperation implements Completion, HoldOwner {
  readonly slot: number
  /** The copier's note. */
  startedAt = 0
  readonly #owner: CopyOperationOwner
  readonly #memory: Memory
  readonly #hold = new RangeHold(this)
  readonly #request = new Request()
  readonly #extents = new Extents()
  #target!: Target
  #isZeroes = false
  #firstChunk = 0
  #endChunk = 0
  #offset = 0
  #length = 0
  #step: 'idle' | 'lock' | 'read' | 'map-source' | 'map-target' | 'write' | 'zero' = 'idle'

  constructor(owner: CopyOperationOwner, slot: number, memory: Memory) {
    this.#owner = owner
    this.slot = slot
    this.#memory = memory
    this.#request.extents = this.#extents
  }

  /** The target that it writes to. */
  get target(): Target {
    return this.#target
  }

  /** Where its run starts, and how long it is (bytes). */
  get offset(): number {
    return this.#offset
  }

  get length(): number {
    return this.#length
  }

  /**
   * Copies what is dirty of the chunks from `first` to before `end`; `isZeroes` if they are thought
   * to be zero.
   */
  start(target: Target, first: number, end: number, isZeroes: boolean): void {
    const { lock } = this.#owner.tracking
    this.#target = target
    this.#isZeroes = isZeroes
    this.#setRun(first, end)
    this.#hold.offset = this.#offset
    this.#hold.end = this.#offset + this.#length
    this.#step = 'lock'
    if (lock.acquire(this.#hold)) this.granted()
  }

  /** Gives up if it still waits for its range; otherwise it settles by itself. */
  cancel(): void {
    if (this.#hold.state !== 'waiting') return
    this.#owner.tracking.lock.leave(this.#hold)
    this.#step = 'idle'
    this.#owner.settled(this, 'nothing', 0)
  }

  granted(): void {
    const { tracking, isRunning } = this.#owner
    const first = tracking.bitmap.nextDirty(this.#firstChunk)
    const hasWork = isRunning && first >= 0 && first < this.#endChunk
    const limit = hasWork ? tracking.bitmap.runEnd(first, this.#endChunk) : first
    const end = hasWork ? tracking.takeRun(this.slot, first, limit) : first
    if (end === first) {
      this.#unlock('nothing', 0)
      return
    }
    this.#setRun(first, end)
    if (this.#isZeroes) this.#submit(this.#owner.source, 'map-source', NBD_CMD_BLOCK_STATUS)
    else this.#submit(this.#owner.source, 'read', NBD_CMD_READ)
  }

  completed({ error, flags }: Request): void {
    switch (this.#step) {
      case 'read':
        if (error !== 0) this.#settle('source-failed', error)
        else this.#send()
        break
      case 'map-source':
        // An answer may be shorter than the question. What memory holds can be read and looked at
        // instead.
        if (error === 0 && this.#isMappedZero()) this.#mapTarget()
        else if (this.#length > this.#memory.bytes.length) this.#settle('refused', error)
        else this.#submit(this.#owner.source, 'read', NBD_CMD_READ)
        break
      case 'map-target':
        if (error === 0 && this.#isMappedZero()) this.#settle('skipped', 0)
        else this.#zero()
        break
      case 'write':
        this.#settle(error === 0 ? 'copied' : 'target-failed', error)
        break
      case 'zero':
        if (error === ENOTSUP && (flags & NBD_CMD_FLAG_FAST_ZERO) !== 0) {
          this.#target.canFastZero = false
          this.#settle('refused', error)
        } else {
          this.#settle(error === 0 ? 'zeroed' : 'target-failed', error)
        }
        break
      default:
        throw new Error(`copy operation: completed in step ${this.#step}`)
    }
  }

  /** What was read goes to the target. */
  #send(): void {
    if (this.#target.info.canWriteZeroes && isZero(this.#memory, 0, this.#length)) {
      this.#zero()
      return
    }
    this.#write()
  }

  #write(): void {
    const padded = this.#paddedLength
    if (padded > this.#length) this.#memory.bytes.fill(0, this.#length, padded)
    this.#owner.spend(this.#length)
    this.#submit(this.#target.device, 'write', NBD_CMD_WRITE)
  }

  #mapTarget(): void {
    if (this.#target.info.canBlockStatus) {
      this.#submit(this.#target.device, 'map-target', NBD_CMD_BLOCK_STATUS)
    } else {
      this.#zero()
    }
  }

  #zero(): void {
    const { canFastZero, info } = this.#target
    if (!info.canWriteZeroes) {
      // Then the run is no longer than the memory: see `Copier`.
      this.#memory.bytes.fill(0, 0, this.#length)
      this.#write()
    } else if (this.#length > SLOW_ZEROES_MAX && !canFastZero) {
      this.#settle('refused', 0)
    } else {
      if (!canFastZero) this.#owner.spend(this.#length)
      const flags = canFastZero ? NBD_CMD_FLAG_FAST_ZERO : 0
      this.#submit(this.#target.device, 'zero', NBD_CMD_WRITE_ZEROES, flags)
    }
  }

  #submit(
    device: BlockDevice,
    step: 'read' | 'map-source' | 'map-target' | 'write' | 'zero',
    command: number,
    flags = 0,
  ): void {
    const isTarget = device === this.#target.device
    if (isTarget && this.#target.isLost) {
      this.#settle('target-failed', ESHUTDOWN)
      return
    }
    const request = this.#request
    this.#step = step
    this.#extents.clear()
    request.set(command, flags, this.#offset, isTarget ? this.#paddedLength : this.#length)
    request.memory =
      command === NBD_CMD_READ || command === NBD_CMD_WRITE ? this.#memory : undefined
    request.push(this)
    device.submit(request)
  }

  #settle(outcome: CopyOutcome, error: number): void {
    const isCopied = outcome === 'copied' || outcome === 'zeroed' || outcome === 'skipped'
    this.#owner.tracking.settleRun(this.slot, this.#firstChunk, this.#endChunk, isCopied)
    this.#unlock(outcome, error)
  }

  #unlock(outcome: CopyOutcome, error: number): void {
    this.#step = 'idle'
    this.#owner.tracking.lock.release(this.#hold)
    this.#owner.settled(this, outcome, error)
  }

  #setRun(first: number, end: number): void {
    const { granularity, size } = this.#owner.tracking.bitmap
    this.#firstChunk = first
    this.#endChunk = end
    this.#offset = first * granularity
    this.#length = Math.min(end * granularity, size) - this.#offset
  }

  /** The last chunk of a disk may end inside a block of the target, which is written whole. */
  get #paddedLength(): number {
    const { blockSize } = this.#target.info
    return Math.ceil(this.#length / blockSize) * blockSize
  }

  /**
   * True if the answer is zeroes for the whole run; a shorter answer says nothing about the rest.
   */
  #isMappedZero(): boolean {
    const { count } = this.#extents
    let covered = 0
    for (let index = 0; index < count; index++) {
      if ((this.#extents.flags(index) & NBD_STATE_ZERO) === 0) break
      covered += this.#extents.length(index)
    }
    return covered >= this.#length
  }
}
