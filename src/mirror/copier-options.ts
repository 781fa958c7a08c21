/** What the copier is given, and whom it tells. */
import type { BlockDevice } from '../block/device.ts'
import type { Clock } from '../io/clock.ts'
import type { Memory } from '../io/memory.ts'
import type { Target } from './target.ts'
import type { Tracking } from './tracking.ts'

export interface CopierListener {
  /** An operation has succeeded. */
  copied(): void
  /** An operation has failed; its chunks are dirty again. */
  copyFailed(side: 'source' | 'target', target: Target, error: number, offset: number): void
  /** No operation is under way. */
  copierIdle(): void
}

/** What the copier knows of guest requests. */
export interface GuestActivity {
  /** By the clock. */
  readonly lastRequestAt: number
}

export interface CopierOptions {
  /** The disk below the mirror filter. */
  readonly source: BlockDevice
  readonly tracking: Tracking
  readonly clock: Clock
  readonly guest: GuestActivity
  /**
   * One piece for each operation, all of one length, a multiple of the granularity; the copier's
   * own while it exists.
   */
  readonly memory: readonly Memory[]
  readonly listener: CopierListener
}
