/** How a job gets on: rates, what is left, and what follows from that for the copy mode. */
import type { Clock } from '../io/clock.ts'
import type { CopyMode, CopyModeChoice, Measurements } from './convergence.ts'
import type { Copier } from './copier.ts'
import { etaSeconds, type JobStatus } from './job-status.ts'
import type { MirrorFilter } from './mirror-filter.ts'
import { RateMeter } from './rate-meter.ts'
import type { TargetRecord } from './target-record.ts'
import type { Tracking } from './tracking.ts'

export interface ProgressParts {
  readonly clock: Clock
  readonly filter: MirrorFilter
  readonly tracking: Tracking
  readonly copier: Copier
  readonly record: TargetRecord
}

/** The part of a status that the job knows and its progress does not. */
export type JobFacts = Pick<
  JobStatus,
  'state' | 'outcome' | 'error' | 'copyModeChoice' | 'reconnects' | 'heldMs'
>

export class Progress {
  readonly #parts: ProgressParts
  readonly #startedAt: number
  readonly #copyMeter = new RateMeter()
  readonly #dirtyMeter = new RateMeter()

  constructor(parts: ProgressParts) {
    this.#parts = parts
    this.#startedAt = parts.clock.now()
  }

  /** Bytes that were sent to the target, ever. */
  get sentBytes(): number {
    return this.#cleanedBytes + this.#parts.filter.forwardedBytes
  }

  /** To be called now and then. */
  sample(now: number): void {
    const { tracking } = this.#parts
    this.#copyMeter.sample(now, this.#cleanedBytes)
    this.#dirtyMeter.sample(now, tracking.dirtiedCount * tracking.bitmap.granularity)
  }

  /** `isFlushing`: the target is being flushed. `isReady`: what was decided last. */
  measure(choice: CopyModeChoice, isFlushing: boolean, isReady: boolean): Measurements {
    const { clock, tracking, copier, record } = this.#parts
    const now = clock.now()
    const stallsInARow = record.stallsInARow(now)
    return {
      choice,
      mode: this.#mode,
      isReady,
      remainingBytes: this.#remainingBytes,
      isSynced: tracking.isSynced,
      copyRate: this.#copyMeter.rate,
      dirtyRate: this.#dirtyMeter.rate,
      pass: copier.pass,
      isTargetLate: tracking.lock.lateCount > 0 || (stallsInARow > 0 && isFlushing),
      stallsInARow,
      sinceStallMs: record.sinceStallMs(now),
    }
  }

  status(facts: JobFacts): JobStatus {
    const { clock, filter, tracking, copier, record } = this.#parts
    const { size, granularity } = tracking.bitmap
    const copyRate = this.#copyMeter.rate
    const dirtyRate = this.#dirtyMeter.rate
    return {
      ...facts,
      copyMode: this.#mode,
      activelySynced: this.#mode === 'write-blocking' && tracking.isSynced,
      size,
      granularity,
      dirtyBytes: Math.min(size, this.#remainingBytes),
      copiedBytes: copier.copiedBytes,
      zeroedBytes: copier.zeroedBytes,
      skippedBytes: copier.skippedBytes,
      forwardedBytes: filter.forwardedBytes,
      pass: copier.pass,
      rateBytesPerSecond: Math.round(copyRate),
      dirtyRateBytesPerSecond: Math.round(dirtyRate),
      etaSeconds: etaSeconds(this.#remainingBytes, copyRate, dirtyRate),
      bandwidth: copier.bandwidth,
      stallMs: filter.stallMs,
      stalls: record.stalls,
      targetErrors: record.errors,
      elapsedMs: clock.now() - this.#startedAt,
    }
  }

  get #mode(): CopyMode {
    return this.#parts.filter.target === undefined ? 'background' : 'write-blocking'
  }

  get #remainingBytes(): number {
    const { tracking } = this.#parts
    return tracking.remainingCount * tracking.bitmap.granularity
  }

  get #cleanedBytes(): number {
    const { copiedBytes, zeroedBytes, skippedBytes } = this.#parts.copier
    return copiedBytes + zeroedBytes + skippedBytes
  }
}
