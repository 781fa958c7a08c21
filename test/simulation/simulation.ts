/**
 * The real mirror over simulated disks on virtual time, one seed a run: a guest that writes, trims,
 * zeroes and flushes, a job, and faults. After every event the invariant is checked, and at the end
 * the disks are compared.
 *
 * Faults that the mirror survives, each of which a seed may inject at any time, also together:
 *  - source and target writes torn in the midst, in any order, slow, answered inside the call, and
 *    failing with EIO after having changed some sectors;
 *  - a trim that leaves anything behind; block status that is blind, or shorter than asked for; a
 *    target that refuses FAST_ZERO;
 *  - a target that hangs for any time, loses its connection, refuses connections, or restarts and
 *    loses what was not flushed; a flush that fails and loses some of what was not flushed;
 *  - the mirror's process killed between any two stores to its bitmap, with writes in flight
 *    landing, or not, or in part;
 *  - settings changed, cancel or complete called, at any time; promises that lag behind events.
 *
 * Taken for granted: a connection's writes have landed or vanished when the target accepts the next
 * connection; a write that one side reports as done is there; sectors do not change by themselves;
 * the bitmap's storage outlives the process (not the host).
 */
import { MirrorJob } from '../../src/mirror/job.ts'
import { Tracking } from '../../src/mirror/tracking.ts'
import { CALM, type Faults, SimulatedMemory } from './disk.ts'
import { Guest } from './guest.ts'
import { checkCompleted, checkInvariant, type Sides } from './invariant.ts'
import { Platter } from './platter.ts'
import { Process, stateOf } from './process.ts'
import { GRANULARITY, Storage } from './storage.ts'
import { TargetHost } from './target-host.ts'
import { isExpected, type Variant } from './variant.ts'
import {
  chooseActions,
  chooseContents,
  chooseCopyMode,
  chooseInfo,
  chooseLimits,
  chooseSpeed,
  chooseStallMs,
  type Deeds,
  STALL_MS_MAX,
} from './weather.ts'
import { Violation, World } from './world.ts'

const EVENTS_MAX = 100_000
/** After the last fault it has to be over within this (milliseconds). */
const CONVERGE_MS_MAX = 300_000
const HOLD_MS_MAX = 500
/** How much later promises may get to something when they are interrupted. */
const HASTE_MS_MAX = 50

export class Simulation implements Deeds {
  readonly world: World
  readonly #variant: Variant
  readonly #source: Platter
  readonly #sourceFaults: Faults = { ...CALM }
  readonly #target: TargetHost
  readonly #guest: Guest
  readonly #storage: Storage
  readonly #slots: number
  readonly #createProcess: () => Process
  readonly #actions: readonly (() => void)[]
  /** Promises lag behind: the events of one turn of an engine come in between. */
  readonly #isHasty: boolean
  #process: Process
  #faultsLeft: number
  #healedAt: number | undefined
  #isDone = false
  #lastState = ''

  constructor(seed: number, variant: Variant = {}, isTraced = false) {
    this.world = new World(seed, isTraced)
    this.#variant = variant
    const { random } = this.world
    const size = 9 + random.below(8)
    const info = chooseInfo(random, size, 1)
    const targetSize = Math.ceil(size / 2) * 2 + random.below(2) * 2
    const targetInfo = chooseInfo(random, targetSize, 1 + random.below(2))
    this.#source = new Platter(chooseContents(random, size), false)
    const targetPlatter = new Platter(chooseContents(random, targetSize), true)
    this.#target = new TargetHost(this.world, targetPlatter, targetInfo)
    this.#slots = 2 + random.below(3)
    this.#storage = new Storage(size, this.#slots, 2 ** (2 + random.below(4)))
    this.#isHasty = random.chance(0.3)
    this.#guest = new Guest(this.world, size, 5 + random.below(40))
    this.#guest.stallMs = STALL_MS_MAX
    this.#guest.heldMs = HOLD_MS_MAX + (this.#isHasty ? HASTE_MS_MAX : 0)
    this.#faultsLeft = random.below(25)
    this.#actions = chooseActions(random, this, this.#target, this.#sourceFaults)
    chooseSpeed(random, this.#sourceFaults, this.#target.faults)
    const { createFilter } = variant
    const disk = { platter: this.#source, info, faults: this.#sourceFaults, createFilter }
    this.#createProcess = () => new Process(this.world, disk)
    this.#process = this.#createProcess()
    this.#live()
  }

  get trace(): readonly string[] {
    return this.world.trace ?? []
  }

  /** How the last request to the source ended. */
  get sourceError(): number {
    return this.#process.sourceError
  }

  /** Rejects with Violation, or whatever else is thrown by the mirror. */
  async run(): Promise<void> {
    for (let events = 0; !this.#isDone; events++) {
      if (events > EVENTS_MAX) throw new Violation('it goes on and on')
      this.world.step()
      if (this.world.isKilled) this.#restart()
      if (this.world.trace !== undefined) this.#noteState()
      const patience = this.#isHasty ? this.world.random.below(4) : 12
      if (this.#process.isAsync) for (let i = 0; i < patience; i++) await undefined
      if (this.world.failure !== undefined) throw this.world.failure
      this.#process.noteClosed()
      if (this.#process.filter.tracking !== undefined) checkInvariant(this.#sides)
    }
    if (this.world.failure !== undefined) throw this.world.failure
    if (this.#guest.lentCount > 0) throw new Violation('memory was lent and not given back')
  }

  /** Between two stores, or between two events. */
  kill(): void {
    const { random } = this.world
    if (random.chance(0.7)) this.world.killIn(random.below(8))
    else this.world.isKilled = true
  }

  changeSettings(): void {
    const { random } = this.world
    const { job } = this.#process
    if (job === undefined || job.state === 'concluded') return
    const copyMode = chooseCopyMode(random)
    this.world.note(() => `copy mode ${copyMode}`)
    job.set({ copyMode, bandwidth: random.below(4) * 500, stallMs: chooseStallMs(random) })
  }

  /** Sometimes the process does not live long enough to do anything about the bitmap. */
  cancel(): void {
    const { job } = this.#process
    if (job === undefined || job.state === 'concluded') return
    this.world.note(() => 'cancel')
    job.cancel().catch(() => {})
    if (!this.world.random.chance(0.5)) return
    this.world.after(this.world.between(0, 4), () => {
      this.world.isKilled = true
    })
  }

  complete(): void {
    const process = this.#process
    const { job } = process
    if (job?.state !== 'ready') return
    const { random } = this.world
    const isRushed = this.#isHasty && this.#healedAt === undefined
    if (isRushed && random.chance(0.3)) {
      this.world.after(this.world.between(0, 10), () => this.cancel())
    }
    const timeoutMs = isRushed ? 1 + random.below(20) : 20 + random.below(HOLD_MS_MAX - 20)
    this.world.note(() => 'complete')
    const completion = job.complete({
      verify: random.chance(0.3),
      resume: random.chance(0.5),
      timeoutMs,
    })
    process.run(
      completion.then(
        () => this.#finish(process),
        (error: unknown) => {
          if (!process.isDead && !isExpected(error)) this.world.failure ??= error
        },
      ),
    )
  }

  get #sides(): Sides {
    return {
      storage: this.#storage,
      source: this.#source,
      sourceDisk: this.#process.source,
      target: this.#target,
    }
  }

  /** Everything that happens of itself. */
  #live(): void {
    this.#every(0, 3, () => this.#actGuest())
    this.#every(1, 12, () => this.#actWeather())
    this.#every(1, 5, () => this.#supervise())
  }

  #every(minMs: number, maxMs: number, act: () => void): void {
    const again = () => {
      act()
      this.world.after(this.world.between(minMs, maxMs), again)
    }
    this.world.after(this.world.between(minMs, maxMs), again)
  }

  #actGuest(): void {
    const count = this.world.random.chance(0.2) ? 4 : 1
    for (let i = 0; i < count && this.#guest.budget > 0 && this.#guest.inFlight < 6; i++) {
      this.#guest.issue(this.#process.gate)
    }
  }

  #actWeather(): void {
    const { random } = this.world
    if (this.#faultsLeft > 0) {
      this.#faultsLeft--
      this.#actions[random.below(this.#actions.length)]?.()
      if (random.chance(0.3)) this.#target.platter.landStray(this.world)
    } else if (this.#guest.budget === 0 && this.#healedAt === undefined) {
      this.world.note(() => 'no more faults')
      this.#healedAt = this.world.now()
      this.#sourceFaults.errorChance = 0
      this.#target.heal()
      this.world.killIn(-1)
    }
  }

  /** Starts a job where there is none, and ends it when all is calm. */
  #supervise(): void {
    const process = this.#process
    if (process.job === undefined) {
      const { tracking } = process.filter
      if (tracking === undefined) this.#storage.reset()
      process.startJob(this.#createJob(process, tracking ?? this.#openTracking(process)))
    }
    if (this.#healedAt === undefined) return
    if (this.#guest.inFlight === 0) this.complete()
    const calmMs = this.world.now() - this.#healedAt
    if (calmMs > CONVERGE_MS_MAX) throw new Violation('does not converge')
  }

  #openTracking(process: Process): Tracking {
    const parts = this.#storage.open(this.world, process)
    return this.#variant.createTracking?.(parts, this) ?? new Tracking(parts)
  }

  #createJob(process: Process, tracking: Tracking): MirrorJob {
    const { random } = this.world
    const { filter, gate, clock } = process
    const length = GRANULARITY * 2 ** random.below(3)
    const job: MirrorJob = new MirrorJob({
      filter,
      gate: {
        quiesceWithin: (within, timeoutMs) => gate.quiesceWithin(within, timeoutMs),
        resume: () => {
          // The last moment at which nobody can have written.
          if (job.status().outcome === 'completed') this.#finish(process)
          if (!process.isDead) gate.resume()
        },
      },
      clock,
      tracking,
      connectTarget: () => this.#target.connect(() => process.isDead || job.state === 'concluded'),
      memory: Array.from({ length: this.#slots }, () => new SimulatedMemory(length, true)),
      copyMode: chooseCopyMode(random),
      bandwidth: 0,
      stallMs: chooseStallMs(random),
      reconnectSeconds: random.below(3) * 2,
      limits: chooseLimits(random),
    })
    this.world.note(() => `job starts, ${job.status().copyModeChoice}`)
    return job
  }

  #restart(): void {
    this.world.note(() => 'the process is killed and started again')
    this.#process.isDead = true
    this.#process.source.abandon()
    this.world.forget()
    this.#guest.abandon()
    if (this.world.random.chance(0.3)) this.#target.restart()
    else this.#target.loseConnections()
    if (this.#target.faults.isHung) this.#target.toggleHang()
    this.#process = this.#createProcess()
    if (this.#storage.isThere) this.#process.filter.attach(this.#openTracking(this.#process))
    this.#live()
  }

  #finish(process: Process): void {
    if (this.#isDone || process.isDead) return
    this.world.note(() => 'completed')
    this.#isDone = true
    try {
      checkCompleted(this.#sides)
    } catch (error) {
      this.world.failure ??= error
    }
  }

  #noteState(): void {
    const text = stateOf(this.#process, this.#storage)
    if (text !== this.#lastState) this.world.note(() => text)
    this.#lastState = text
  }
}
