/**
 * A mirror job, from start to outcome: it connects the target, lets the copier run, chooses the
 * copy mode, survives a target that stalls, fails or goes away, and switches over. The guest never
 * notices but by latency: whatever fails, its disk is the source until a switchover has completed.
 *
 * Everything runs on the data thread. The job owns the target's device, borrows tracking, memory
 * and the devices below.
 */
import assert from 'node:assert/strict'
import { errnoName } from '../block/block-error.ts'
import type { BlockDevice } from '../block/device.ts'
import { ENOSPC, EPERM, ESHUTDOWN } from '../block/errno.ts'
import type { Clock, Timer } from '../io/clock.ts'
import type { Memory } from '../io/memory.ts'
import { Connector, type ConnectorListener, closeQuietly } from './connector.ts'
import {
  CONVERGENCE_LIMITS,
  type ConvergenceLimits,
  type CopyMode,
  type CopyModeChoice,
  decide,
  type Measurements,
} from './convergence.ts'
import { Copier, type CopierListener } from './copier.ts'
import { etaSeconds, type JobStatus } from './job-status.ts'
import { MirrorError } from './mirror-error.ts'
import type { MirrorFilter, MirrorListener } from './mirror-filter.ts'
import { RateMeter } from './rate-meter.ts'
import { isAllowed, mayFollow, type Outcome, type State, type Verb } from './states.ts'
import { type ClientGate, Switchover } from './switchover.ts'
import { type FlushWaiter, Target } from './target.ts'
import { targetProblem } from './target-check.ts'
import type { Tracking } from './tracking.ts'

/** How often it measures and decides (milliseconds). */
export const TICK_MS = 20
/**
 * Failures of one side in a row, nothing succeeding in between, that end the job; and the pauses
 * between them.
 */
export const FAILURES_MAX = 16
export const FAILURE_PAUSE_MS = 10
export const FAILURE_PAUSE_MS_MAX = 2000
/**
 * The target is flushed this often, or after so many bytes: the last flush is short then, and
 * little is sent again after a loss.
 */
export const FLUSH_MS = 1000
export const FLUSH_BYTES = 256 * 1024 * 1024
/** A target that owes an answer and gives none to anybody for this long is lost (milliseconds). */
export const SILENCE_MS_MAX = 30_000
/** Stalls further apart than this are not in a row (milliseconds). */
export const STALL_MEMORY_MS = 60_000

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

export class MirrorJob implements MirrorListener, CopierListener, ConnectorListener, FlushWaiter {
  readonly #options: MirrorJobOptions
  readonly #filter: MirrorFilter
  readonly #clock: Clock
  readonly #tracking: Tracking
  readonly #copier: Copier
  readonly #connector: Connector
  readonly #timer: Timer
  readonly #copyMeter = new RateMeter()
  readonly #dirtyMeter = new RateMeter()
  readonly #startedAt: number
  /** Resolves when the job is concluded in any way. */
  readonly concluded: Promise<void>
  #markConcluded!: () => void
  #state: State = 'created'
  #outcome: Outcome | null = null
  #error: string | null = null
  #choice: CopyModeChoice
  #target: Target | undefined
  #switchover: Switchover | undefined
  #started: { resolve: () => void; reject: (error: MirrorError) => void } | undefined
  #closed: Promise<void> = Promise.resolve()
  /** When the last connection of the target is gone and the copier has settled. */
  #isClosed: Promise<void> = Promise.resolve()
  #isHolding = false
  #heldMs = 0
  #stalls = 0
  #stallsInARow = 0
  #lastStallAt = -Infinity
  #reconnects = 0
  #targetErrors = 0
  #failures = 0
  #answeredAt = 0
  #flushedAt = 0
  #flushedBytes = 0

  constructor(options: MirrorJobOptions) {
    const { filter, clock, tracking, connectTarget, memory } = options
    this.#options = options
    this.#filter = filter
    this.#clock = clock
    this.#tracking = tracking
    this.#choice = options.copyMode
    this.#startedAt = clock.now()
    this.concluded = new Promise(resolve => {
      this.#markConcluded = resolve
    })
    this.#copier = new Copier({
      source: filter.next,
      tracking,
      clock,
      guest: filter,
      memory,
      listener: this,
    })
    this.#copier.bandwidth = options.bandwidth
    this.#connector = new Connector(clock, connectTarget, this)
    this.#timer = clock.createTimer(() => this.#tick())
  }

  get state(): State {
    return this.#state
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
    this.#assertAllowed('start')
    this.#enter('waiting')
    this.#filter.stallMs = this.#options.stallMs
    this.#filter.attach(this.#tracking, this)
    return new Promise((resolve, reject) => {
      this.#started = { resolve, reject }
      this.#connector.connect()
    })
  }

  set({ bandwidth, stallMs, copyMode }: JobSettings): void {
    this.#assertAllowed('set')
    if (bandwidth !== undefined) this.#copier.bandwidth = bandwidth
    if (stallMs !== undefined) this.#filter.stallMs = stallMs
    if (copyMode !== undefined) this.#choice = copyMode
  }

  /** Ends it; the guest goes on at the source. Resolves when the target is closed. */
  async cancel(): Promise<void> {
    this.#assertAllowed('cancel')
    this.#conclude('cancelled', null)
    await this.#closed
  }

  /**
   * Switches over. Rejects with MirrorError, the clients going on at the source; unless the job is
   * over it can be tried again.
   */
  async complete({ verify, resume, timeoutMs }: CompleteOptions): Promise<void> {
    this.#assertAllowed('complete')
    this.#enter('switchover')
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
    } catch (error) {
      this.#endSwitchover()
      const isBroken = error instanceof MirrorError && error.code === 'verify-difference'
      if (this.#state !== 'concluded' && isBroken) this.#conclude('failed', error.message)
      if (this.#state === 'switchover') this.#enter('running')
      throw error
    }
    this.#isHolding = !resume
    this.#endSwitchover()
    this.#conclude('completed', null)
    if (resume) gate.resume()
    await this.#closed
  }

  /**
   * Lets clients that a completed switchover holds go on at the source: for when the destination
   * did not take over after all.
   */
  resume(): void {
    this.#assertAllowed('resume')
    if (!this.#isHolding)
      throw new MirrorError('wrong-state', 'no clients are held: nothing to resume')
    this.#isHolding = false
    this.#options.gate.resume()
  }

  status(): JobStatus {
    const { bitmap, remainingCount } = this.#tracking
    const copyRate = this.#copyMeter.rate
    const dirtyRate = this.#dirtyMeter.rate
    const heldAt = this.#switchover?.heldAt
    return {
      state: this.#state,
      outcome: this.#outcome,
      error: this.#error,
      copyMode: this.#mode,
      copyModeChoice: this.#choice,
      activelySynced: this.#mode === 'write-blocking' && this.#tracking.isSynced,
      size: bitmap.size,
      granularity: bitmap.granularity,
      dirtyBytes: Math.min(bitmap.size, remainingCount * bitmap.granularity),
      copiedBytes: this.#copier.copiedBytes,
      zeroedBytes: this.#copier.zeroedBytes,
      skippedBytes: this.#copier.skippedBytes,
      forwardedBytes: this.#filter.forwardedBytes,
      pass: this.#copier.pass,
      rateBytesPerSecond: Math.round(copyRate),
      dirtyRateBytesPerSecond: Math.round(dirtyRate),
      etaSeconds: etaSeconds(remainingCount * bitmap.granularity, copyRate, dirtyRate),
      bandwidth: this.#copier.bandwidth,
      stallMs: this.#filter.stallMs,
      stalls: this.#stalls,
      reconnects: this.#reconnects,
      targetErrors: this.#targetErrors,
      elapsedMs: this.#clock.now() - this.#startedAt,
      heldMs: heldAt === undefined ? this.#heldMs : this.#clock.now() - heldAt,
    }
  }

  // What the connector, the copier, the filter and the target's flush report.

  connected(device: BlockDevice): void {
    const { granularity } = this.#tracking.bitmap
    const problem = targetProblem(this.#filter.info, device.info, granularity)
    if (problem !== undefined) {
      this.#isClosed = closeQuietly(device)
      this.#conclude('failed', problem, 'target-refused')
      return
    }
    this.#target = new Target(device, this.#tracking)
    this.#answeredAt = this.#clock.now()
    this.#failures = 0
    this.#error = null
    this.#enter('running')
    this.#started?.resolve()
    this.#started = undefined
    this.#tick()
  }

  gaveUp(cause: unknown): void {
    const reason = cause instanceof Error ? cause.message : String(cause)
    this.#conclude('failed', `the target cannot be reached, ${reason}`, 'target-unreachable')
  }

  copied(): void {
    this.#failures = 0
    this.#answeredAt = this.#clock.now()
  }

  copyFailed(side: 'source' | 'target', target: Target, error: number, offset: number): void {
    if (target !== this.#target) return
    if (side === 'target') this.targetFailed(target, error)
    else this.#countFailure(`reading the disk at offset ${offset} fails with ${errnoName(error)}`)
  }

  copierIdle(): void {
    this.#switchover?.check()
    if (this.#state === 'running') this.#decide()
  }

  stalled(): void {
    this.#stalls++
    this.#noteStall()
    if (this.#state === 'ready') this.#enter('running')
  }

  targetFailed(target: Target, error: number): void {
    if (target !== this.#target) return
    this.#targetErrors++
    if (error === ESHUTDOWN) {
      this.#loseTarget('the target has gone away: reconnecting')
    } else if (error === ENOSPC) {
      this.#conclude('failed', 'the target is full (ENOSPC): give it more space and start anew')
    } else if (error === EPERM) {
      this.#conclude(
        'failed',
        'the target refuses writes (EPERM): export it writable and start anew',
      )
    } else {
      this.#noteStall()
      this.#filter.forwardTo(undefined)
      this.#countFailure(`the target fails with ${errnoName(error)}`)
    }
  }

  targetFlushed(error: number): void {
    if (error === 0) this.#answeredAt = this.#clock.now()
    else if (this.#target !== undefined) this.targetFailed(this.#target, error)
  }

  get #mode(): CopyMode {
    return this.#filter.target === undefined ? 'background' : 'write-blocking'
  }

  get #copiedTotal(): number {
    const { copiedBytes, zeroedBytes, skippedBytes } = this.#copier
    return copiedBytes + zeroedBytes + skippedBytes
  }

  #tick(): void {
    const target = this.#target
    if (target === undefined) return
    this.#timer.arm(TICK_MS)
    const now = this.#clock.now()
    if (!this.#copier.isRunning) this.#startCopier(target)
    this.#copyMeter.sample(now, this.#copiedTotal)
    this.#dirtyMeter.sample(now, this.#tracking.dirtiedCount * this.#tracking.bitmap.granularity)
    if (now - this.#lastStallAt > STALL_MEMORY_MS) this.#stallsInARow = 0
    if (!this.#owesAnswer(target)) this.#answeredAt = now
    if (now - this.#answeredAt > SILENCE_MS_MAX) {
      this.#loseTarget(`the target has not answered for ${SILENCE_MS_MAX} ms: reconnecting`)
      return
    }
    if (this.#switchover === undefined) this.#flushIfDue(target, now)
    this.#copier.wake()
    this.#switchover?.check()
    if (this.#state === 'running' || this.#state === 'ready') this.#decide()
  }

  /**
   * Writes that began before tracking did leave no mark: nothing may become clean until they have
   * settled.
   */
  #startCopier(target: Target): void {
    if (this.#filter.untrackedCount === 0 && this.#switchover === undefined)
      this.#copier.start(target)
  }

  #owesAnswer(target: Target): boolean {
    return (
      target.isFlushing || this.#copier.operationsCount > 0 || this.#tracking.lock.lateCount > 0
    )
  }

  #flushIfDue(target: Target, now: number): void {
    const { log } = this.#tracking
    const bytes = this.#copiedTotal + this.#filter.forwardedBytes
    if (target.isFlushing || log.count === 0) return
    const isDue =
      now - this.#flushedAt >= FLUSH_MS ||
      bytes - this.#flushedBytes >= FLUSH_BYTES ||
      log.count > log.capacity / 2
    if (!isDue) return
    this.#flushedAt = now
    this.#flushedBytes = bytes
    target.flush(this)
  }

  #decide(): void {
    if (!this.#copier.isRunning) return
    const decision = decide(this.#measure(), this.#options.limits ?? CONVERGENCE_LIMITS)
    if (decision === 'write-blocking') this.#filter.forwardTo(this.#target)
    if (decision === 'background') this.#filter.forwardTo(undefined)
    if (decision === 'ready' && this.#state === 'running') this.#enter('ready')
  }

  #measure(): Measurements {
    const { bitmap, lock, remainingCount, isSynced } = this.#tracking
    return {
      choice: this.#choice,
      mode: this.#mode,
      remainingBytes: remainingCount * bitmap.granularity,
      isSynced,
      copyRate: this.#copyMeter.rate,
      dirtyRate: this.#dirtyMeter.rate,
      pass: this.#copier.pass,
      isTargetLate: lock.lateCount > 0 || (this.#stallsInARow > 0 && this.#target!.isFlushing),
      stallsInARow: this.#stallsInARow,
      sinceStallMs: this.#clock.now() - this.#lastStallAt,
    }
  }

  #noteStall(): void {
    this.#stallsInARow++
    this.#lastStallAt = this.#clock.now()
  }

  #countFailure(what: string): void {
    this.#failures++
    if (this.#failures > FAILURES_MAX) {
      this.#conclude('failed', `${what}, ${this.#failures} times in a row: mend it and start anew`)
      return
    }
    const pauseMs = FAILURE_PAUSE_MS * 2 ** (this.#failures - 1)
    this.#copier.backOff(Math.min(FAILURE_PAUSE_MS_MAX, pauseMs))
  }

  /**
   * What it has not flushed is dirty, then it is connected again; the guest's writes follow the
   * background rule meanwhile.
   */
  #loseTarget(error: string): void {
    const device = this.#releaseTarget()
    const isClosed = closeQuietly(device).then(() => this.#copier.idle())
    this.#isClosed = isClosed
    this.#error = error
    this.#enter('waiting')
    this.#switchover?.abort(
      new MirrorError('mirror-failed', 'the target was lost: the clients go on'),
    )
    this.#reconnects++
    // Only then: nothing of the old connection may reach the target after something of the new one.
    void isClosed.then(() => {
      if (this.#state === 'waiting') this.#connector.reconnect(this.#options.reconnectSeconds)
    })
  }

  async #letGo(device: BlockDevice | undefined): Promise<void> {
    await this.#isClosed
    if (device !== undefined) await closeQuietly(device)
    await this.#copier.idle()
    await this.#tracking.requests.idle()
  }

  #releaseTarget(): BlockDevice {
    const target = this.#target!
    this.#target = undefined
    target.isLost = true
    this.#filter.forwardTo(undefined)
    this.#copier.stop()
    this.#tracking.targetLost()
    this.#timer.disarm()
    return target.device
  }

  #conclude(outcome: Outcome, error: string | null, code?: MirrorError['code']): void {
    this.#enter('concluded')
    this.#outcome = outcome
    this.#error = error
    this.#connector.abandon()
    const device = this.#target === undefined ? undefined : this.#releaseTarget()
    this.#tracking.abandon()
    this.#filter.detach()
    this.#closed = this.#letGo(device)
    const reason = code ?? (outcome === 'cancelled' ? 'mirror-cancelled' : 'mirror-failed')
    const failure = new MirrorError(reason, error ?? 'the mirror was cancelled')
    this.#switchover?.abort(failure)
    this.#started?.reject(failure)
    this.#started = undefined
    this.#markConcluded()
  }

  #endSwitchover(): void {
    const heldAt = this.#switchover?.heldAt
    if (heldAt !== undefined) this.#heldMs = this.#clock.now() - heldAt
    this.#switchover = undefined
  }

  #enter(state: State): void {
    assert(mayFollow(this.#state, state), `job: ${state} after ${this.#state}`)
    this.#state = state
  }

  #assertAllowed(verb: Verb): void {
    if (isAllowed(verb, this.#state)) return
    const hint = verb === 'complete' ? ': wait until it is ready' : ''
    throw new MirrorError('wrong-state', `cannot ${verb} a mirror that is ${this.#state}${hint}`)
  }
}
