/**
 * What a job does again and again while its target is connected: lets the copier begin, looks
 * whether the target still answers, has it flushed in time, and chooses the copy mode. It acts on
 * filter, copier and target; what concerns the life of the job it reports to the job.
 */
import type { Clock, Timer } from '../io/clock.ts'
import { type ConvergenceLimits, type CopyModeChoice, decide } from './convergence.ts'
import type { Copier } from './copier.ts'
import { FlushSchedule } from './flush-schedule.ts'
import type { MirrorFilter } from './mirror-filter.ts'
import { Progress } from './progress.ts'
import type { State } from './states.ts'
import type { Target } from './target.ts'
import { TargetRecord } from './target-record.ts'
import type { Tracking } from './tracking.ts'

/** How often it looks (milliseconds). */
export const TICK_MS = 20

export interface ConductorOwner {
  /** Set while clients are held: then nothing is decided or flushed but by the switchover. */
  readonly switchover: { readonly isVerifying: boolean; check(): void } | undefined
  readonly state: State
  readinessChanged(isReady: boolean): void
  /** The target owes answers and gives none. */
  silent(): void
  /** A flush that was asked for here has settled. */
  targetFlushed(error: number): void
}

export interface ConductorParts {
  readonly owner: ConductorOwner
  readonly clock: Clock
  readonly filter: MirrorFilter
  readonly tracking: Tracking
  readonly copier: Copier
  readonly limits: ConvergenceLimits
  readonly choice: CopyModeChoice
}

export class Conductor {
  choice: CopyModeChoice
  readonly record: TargetRecord = new TargetRecord()
  readonly progress: Progress
  readonly #parts: ConductorParts
  readonly #timer: Timer
  readonly #flushes = new FlushSchedule()
  #target: Target | undefined

  constructor(parts: ConductorParts) {
    this.#parts = parts
    this.choice = parts.choice
    this.progress = new Progress({ ...parts, record: this.record })
    this.#timer = parts.clock.createTimer(() => this.#tick())
  }

  start(target: Target): void {
    this.#target = target
    this.record.begins(this.#parts.clock.now())
    this.#tick()
  }

  stop(): void {
    this.#target = undefined
    this.#timer.disarm()
    this.#parts.copier.stop()
  }

  /** Chooses the copy mode, and says whether a switchover would be short. */
  decide(): void {
    const { owner, filter, copier, limits } = this.#parts
    const target = this.#target
    const wasReady = owner.state === 'ready'
    if (target === undefined || !copier.isRunning) return
    if (!wasReady && owner.state !== 'running') return
    const measured = this.progress.measure(this.choice, target.isFlushing, wasReady)
    const decision = decide(measured, limits)
    if (decision === 'write-blocking') filter.forwardTo(target)
    if (decision === 'background') filter.forwardTo(undefined)
    // In write-blocking mode nothing grows: it stays ready until the mode has to change.
    const isReady = decision === 'ready' || (wasReady && filter.target !== undefined)
    if (isReady !== wasReady) owner.readinessChanged(isReady)
  }

  #tick(): void {
    const { owner, clock, copier } = this.#parts
    const target = this.#target!
    this.#timer.arm(TICK_MS)
    const now = clock.now()
    this.#startCopier(target)
    this.progress.sample(now)
    if (!this.#owesAnswer(target)) this.record.idle(now)
    if (this.record.isSilent(now)) {
      owner.silent()
      return
    }
    this.#flushIfDue(target, now)
    copier.wake()
    owner.switchover?.check()
    this.decide()
  }

  /**
   * Writes that began before tracking did leave no mark: nothing may become clean until they have
   * settled.
   */
  #startCopier(target: Target): void {
    const { owner, filter, copier } = this.#parts
    if (copier.isRunning || filter.untrackedCount > 0 || owner.switchover !== undefined) return
    copier.start(target)
  }

  #owesAnswer(target: Target): boolean {
    const { owner, copier } = this.#parts
    return (
      target.isFlushing ||
      copier.operationsCount > 0 ||
      target.tracking.lock.lateCount > 0 ||
      owner.switchover?.isVerifying === true
    )
  }

  #flushIfDue(target: Target, now: number): void {
    const { owner } = this.#parts
    const { log } = target.tracking
    const bytes = this.progress.sentBytes
    if (owner.switchover !== undefined || target.isFlushing) return
    if (!this.#flushes.isDue(now, bytes, log.count / log.capacity)) return
    this.#flushes.flushed(now, bytes)
    target.flush(owner)
  }
}
