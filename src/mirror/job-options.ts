/** What a mirror job is given, and what its verbs take. */
import type { BlockDevice } from '../block/device.ts'
import type { Clock } from '../io/clock.ts'
import type { Memory } from '../io/memory.ts'
import type { ConvergenceLimits, CopyModeChoice } from './convergence.ts'
import type { MirrorFilter } from './mirror-filter.ts'
import type { ClientGate } from './switchover.ts'
import type { Tracking } from './tracking.ts'

export interface MirrorJobOptions {
  readonly filter: MirrorFilter
  readonly gate: ClientGate
  readonly clock: Clock
  /** New, or left by a former process and perhaps attached to the filter already. */
  readonly tracking: Tracking
  /**
   * Opens the target. Its `close` has to settle whatever is under way, with ESHUTDOWN, in bounded
   * time.
   */
  readonly connectTarget: () => Promise<BlockDevice>
  /**
   * For the copier: one piece for each of its operations, at least two. Free again when the job is
   * concluded and closed.
   */
  readonly memory: readonly Memory[]
  readonly copyMode: CopyModeChoice
  /** Bytes per second; 0 is no limit. */
  readonly bandwidth: number
  readonly stallMs: number
  /** How long a lost target is reconnected; 0 for as long as it takes. */
  readonly reconnectSeconds: number
  readonly limits?: ConvergenceLimits
}

export interface CompleteOptions {
  /** Compare the two disks before the outcome. */
  readonly verify: boolean
  /** Let the clients go on at the source afterwards. */
  readonly resume: boolean
  readonly timeoutMs: number
}

export interface JobSettings {
  readonly bandwidth?: number
  readonly stallMs?: number
  readonly copyMode?: CopyModeChoice
}
