/** What a mirror job tells about itself: plain numbers and words, sizes in bytes. */
import type { CopyMode, CopyModeChoice } from './convergence.ts'
import type { Outcome, State } from './states.ts'

export interface JobStatus {
  readonly state: State
  /** Null until the state is `concluded`. */
  readonly outcome: Outcome | null
  /** One sentence: why it failed, or what it waits for. */
  readonly error: string | null
  /** The mode that guest writes follow now. */
  readonly copyMode: CopyMode
  readonly copyModeChoice: CopyModeChoice
  /** Every write goes to both sides, nothing is dirty, and nothing in flight can make it so. */
  readonly activelySynced: boolean
  readonly size: number
  readonly granularity: number
  readonly dirtyBytes: number
  /**
   * What the copier sent as data and as zeroes, and what it did not send because the target reads
   * zeroes there.
   */
  readonly copiedBytes: number
  readonly zeroedBytes: number
  readonly skippedBytes: number
  /** Guest writes mirrored synchronously. */
  readonly forwardedBytes: number
  readonly pass: number
  readonly rateBytesPerSecond: number
  readonly dirtyRateBytesPerSecond: number
  /** Null while it cannot be told. */
  readonly etaSeconds: number | null
  /** Bytes per second; 0 is no limit. */
  readonly bandwidth: number
  readonly stallMs: number
  /** Requests that waited for the target for the whole stall budget. */
  readonly stalls: number
  readonly reconnects: number
  readonly targetErrors: number
  readonly elapsedMs: number
  /** How long clients are, or were, held at switchover. */
  readonly heldMs: number
}

/** Seconds until nothing is left at these rates; null if that is not in sight. */
export function etaSeconds(
  remainingBytes: number,
  copyRate: number,
  dirtyRate: number,
): number | null {
  if (remainingBytes === 0) return 0
  return copyRate > dirtyRate ? remainingBytes / (copyRate - dirtyRate) : null
}
