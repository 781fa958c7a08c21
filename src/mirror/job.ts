/**
 * A mirror job, from start to outcome: it connects the target, lets the copier run, chooses the
 * copy mode, survives a target that stalls, fails or goes away, and switches over. The guest never
 * notices but by latency: whatever fails, its disk is the source until a switchover has completed.
 *
 * Everything runs on the data thread. The job owns the target's device, borrows tracking, memory
 * and the devices below.
 */
import { errnoName } from '../block/block-error.ts'
import type { BlockDevice } from '../block/device.ts'
import { ESHUTDOWN } from '../block/errno.ts'
import type { Clock } from '../io/clock.ts'
import { Conductor, type ConductorOwner } from './conductor.ts'
import { Connector, type ConnectorListener, closeQuietly } from './connector.ts'
import { CONVERGENCE_LIMITS } from './convergence.ts'
import { Copier } from './copier.ts'
import type { CopierListener } from './copier-options.ts'
import type { CompleteOptions, JobSettings, MirrorJobOptions } from './job-options.ts'
import { JobState } from './job-state.ts'
import type { JobStatus } from './job-status.ts'
import { MirrorError } from './mirror-error.ts'
import type { MirrorFilter, MirrorListener } from './mirror-filter.ts'
import type { Outcome, State } from './states.ts'
import { Switchover } from './switchover.ts'
import { Target } from './target.ts'
import { fatalProblem, targetProblem } from './target-check.ts'
import { SILENCE_MS_MAX } from './target-record.ts'
import type { Tracking } from './tracking.ts'

export class MirrorJob
  implements MirrorListener, CopierListener, ConnectorListener, ConductorOwner
{
  readonly #options: MirrorJobOptions
  readonly #filter: MirrorFilter
  readonly #clock: Clock
  readonly #tracking: Tracking
  readonly #copier: Copier
  readonly #connector: Connector
  readonly #conductor: Conductor
  readonly #state = new JobState()
  #target: Target | undefined
  /** The last one that was tried. */
  #switchover: Switchover | undefined
  #closed: Promise<void> = Promise.resolve()
  /** When the last connection of the target is gone and the copier has settled. */
  #isClosed: Promise<void> = Promise.resolve()
  #isHolding = false
  #reconnects = 0

  constructor(options: MirrorJobOptions) {
    const { filter, clock, tracking, connectTarget } = options
    this.#options = options
    this.#filter = filter
    this.#clock = clock
    this.#tracking = tracking
    this.#copier = new Copier({ ...options, source: filter.next, guest: filter, listener: this })
    this.#copier.bandwidth = options.bandwidth
    this.#conductor = new Conductor({
      ...options,
      owner: this,
      copier: this.#copier,
      limits: options.limits ?? CONVERGENCE_LIMITS,
      choice: options.copyMode,
    })
    this.#connector = new Connector(clock, connectTarget, this)
  }

  get state(): State {
    return this.#state.now
  }

  /** Resolves when the job is concluded in any way. */
  get concluded(): Promise<void> {
    return this.#state.concluded
  }

  /** The switchover that is under way. */
  get switchover(): Switchover | undefined {
    return this.#switchover?.isOver === false ? this.#switchover : undefined
  }

  /** Once it is concluded: resolves when the target is closed and the memory free. */
  get closed(): Promise<void> {
    return this.#closed
  }

  /**
   * Begins tracking and connects. Rejects if the target cannot be reached or used, and then the job
   * has failed.
   */
  start(): Promise<void> {
    this.#state.assertAllowed('start')
    this.#state.enter('waiting')
    this.#filter.stallMs = this.#options.stallMs
    this.#filter.attach(this.#tracking, this)
    this.#connector.connect()
    return this.#state.started()
  }

  set({ bandwidth, stallMs, copyMode }: JobSettings): void {
    this.#state.assertAllowed('set')
    if (bandwidth !== undefined) this.#copier.bandwidth = bandwidth
    if (stallMs !== undefined) this.#filter.stallMs = stallMs
    if (copyMode !== undefined) this.#conductor.choice = copyMode
  }

  /** Ends it; the guest goes on at the source. Resolves when the target is closed. */
  async cancel(): Promise<void> {
    this.#state.assertAllowed('cancel')
    this.#conclude('cancelled', null)
    await this.#closed
  }

  /**
   * Switches over. Rejects with MirrorError, the clients going on at the source; unless the job is
   * over it can be tried again.
   */
  async complete({ verify, resume, timeoutMs }: CompleteOptions): Promise<void> {
    this.#state.assertAllowed('complete')
    this.#state.enter('switchover')
    const { gate, memory } = this.#options
    const switchover = new Switchover({
      clock: this.#clock,
      gate,
      copier: this.#copier,
      target: this.#target!,
      memory,
      flushed: error => this.targetFlushed(error),
      compared: () => this.copied(),
      verify,
      timeoutMs,
    })
    this.#switchover = switchover
    try {
      await switchover.run()
      switchover.assertHolding()
    } catch (error) {
      switchover.end()
      const isBroken = error instanceof MirrorError && error.code === 'verify-difference'
      if (this.#state.now !== 'concluded' && isBroken) this.#conclude('failed', error.message)
      if (this.#state.now === 'switchover') this.#state.enter('running')
      throw error
    }
    switchover.end()
    this.#isHolding = !resume
    this.#conclude('completed', null)
    if (resume) gate.resume()
    await this.#closed
  }

  /**
   * Lets clients that a completed switchover holds go on at the source: for when the destination
   * did not take over after all.
   */
  resume(): void {
    this.#state.assertAllowed('resume')
    if (!this.#isHolding)
      throw new MirrorError('wrong-state', 'no clients are held: nothing to resume')
    this.#isHolding = false
    this.#options.gate.resume()
  }

  status(): JobStatus {
    return this.#conductor.progress.status({
      state: this.#state.now,
      outcome: this.#state.outcome,
      error: this.#state.error,
      copyModeChoice: this.#conductor.choice,
      reconnects: this.#reconnects,
      heldMs: this.#switchover?.heldMs ?? 0,
    })
  }

  // What the connector, the copier, the filter and the conductor report.

  connected(device: BlockDevice): void {
    const { granularity } = this.#tracking.bitmap
    const problem = targetProblem(this.#filter.info, device.info, granularity)
    if (problem !== undefined) {
      this.#isClosed = closeQuietly(device)
      this.#conclude('failed', problem, 'target-refused')
      return
    }
    this.#target = new Target(device, this.#tracking)
    this.#state.error = null
    this.#state.enter('running')
    this.#conductor.start(this.#target)
  }

  gaveUp(cause: unknown): void {
    const reason = cause instanceof Error ? cause.message : String(cause)
    this.#conclude('failed', `the target cannot be reached, ${reason}`, 'target-unreachable')
  }

  copied(): void {
    this.#conductor.record.answered(this.#clock.now())
  }

  copyFailed(side: 'source' | 'target', target: Target, error: number, offset: number): void {
    if (target !== this.#target) return
    if (side === 'target') this.targetFailed(target, error, offset)
    else this.#countFailure(`reading the disk fails with ${errnoName(error)}`, offset)
  }

  copierIdle(): void {
    this.switchover?.check()
    if (this.state === 'running') this.#conductor.decide()
  }

  stalled(): void {
    this.#conductor.record.stalled(this.#clock.now())
    if (this.state === 'ready') this.#state.enter('running')
  }

  /** `offset`: of what the copier could not write. */
  targetFailed(target: Target, error: number, offset?: number): void {
    if (target !== this.#target) return
    this.#conductor.record.failed(this.#clock.now())
    const problem = fatalProblem(error)
    if (problem !== undefined) {
      this.#conclude('failed', problem)
    } else if (error === ESHUTDOWN) {
      this.#loseTarget('the target has gone away: reconnecting')
    } else {
      this.#filter.forwardTo(undefined)
      this.#countFailure(`the target fails with ${errnoName(error)}`, offset)
    }
  }

  targetFlushed(error: number): void {
    if (error === 0) this.#conductor.record.answered(this.#clock.now())
    else if (this.#target !== undefined) this.targetFailed(this.#target, error)
  }

  readinessChanged(isReady: boolean): void {
    this.#state.enter(isReady ? 'ready' : 'running')
  }

  silent(): void {
    this.#loseTarget(`the target has not answered for ${SILENCE_MS_MAX} ms: reconnecting`)
  }

  #countFailure(what: string, offset?: number): void {
    const pauseMs = this.#conductor.record.copyFailed(this.#clock.now(), offset)
    const place = offset === undefined ? '' : ` at offset ${offset}`
    if (pauseMs !== undefined) this.#copier.backOff(pauseMs)
    else this.#conclude('failed', `${what}${place}, again and again: mend it and start anew`)
  }

  /**
   * What it has not flushed is dirty, then it is connected again; the guest's writes follow the
   * background rule meanwhile.
   */
  #loseTarget(error: string): void {
    const device = this.#releaseTarget()
    const isClosed = closeQuietly(device).then(() => this.#copier.idle())
    this.#isClosed = isClosed
    this.#state.error = error
    this.#state.enter('waiting')
    this.switchover?.abort(
      new MirrorError('mirror-failed', 'the target was lost: the clients go on'),
    )
    this.#reconnects++
    // Only then: nothing of the old connection may reach the target after something of the new one.
    void isClosed.then(() => {
      if (this.#state.now === 'waiting') this.#connector.reconnect(this.#options.reconnectSeconds)
    })
  }

  async #letGo(device: BlockDevice | undefined): Promise<void> {
    await this.#isClosed
    if (device !== undefined) await closeQuietly(device)
    await this.#copier.idle()
    // A comparison that was given up may still be reading the disk into the copier's memory.
    await this.#switchover?.over
    await this.#tracking.requests.idle()
  }

  #releaseTarget(): BlockDevice {
    const target = this.#target!
    this.#target = undefined
    target.isLost = true
    this.#filter.forwardTo(undefined)
    this.#conductor.stop()
    this.#tracking.targetLost()
    return target.device
  }

  #conclude(outcome: Outcome, error: string | null, code?: MirrorError['code']): void {
    const reason = code ?? (outcome === 'cancelled' ? 'mirror-cancelled' : 'mirror-failed')
    const failure = new MirrorError(reason, error ?? 'the mirror was cancelled')
    this.#state.conclude(outcome, failure)
    this.#connector.abandon()
    const device = this.#target === undefined ? undefined : this.#releaseTarget()
    this.#tracking.abandon()
    this.#filter.detach()
    this.#closed = this.#letGo(device)
    this.switchover?.abort(failure)
  }
}
