/**
 * The real mirror over simulated disks on virtual time, one seed a run: a guest that writes, trims,
 * zeroes and flushes, a job, and faults. After every event the invariant is checked, and at the end
 * the disks are compared.
 *
 * Faults that the mirror survives, each of which a seed may inject at any time, also together:
 *  - source and target writes torn in the midst, in any order, slow, and failing with EIO after having changed some sectors;
 *  - a trim that leaves anything behind; block status that is blind, or shorter than asked for; a target that refuses FAST_ZERO;
 *  - a target that hangs for any time, loses its connection, refuses connections, or restarts and loses what was not flushed;
 *  - a target flush that fails and loses some of what was not flushed;
 *  - the mirror's process killed between any two stores to its bitmap, with writes in flight landing, or not, or in part;
 *  - settings changed, and cancel or complete called, at any time.
 *
 * Taken for granted: a connection's writes have landed or vanished when the target accepts the next
 * connection; a write that one side reports as done is there; sectors do not change by themselves;
 * the bitmap's storage outlives the process (not the host).
 */
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import { Gate } from '../../src/block/gate.ts'
import type { Request } from '../../src/block/request.ts'
import type { Clock, Timer } from '../../src/io/clock.ts'
import { MirrorJob } from '../../src/mirror/job.ts'
import { MirrorFilter } from '../../src/mirror/mirror-filter.ts'
import { Tracking, type TrackingParts } from '../../src/mirror/tracking.ts'
import { type Faults, Platter, SimulatedDisk, SimulatedMemory } from './disk.ts'
import { Admission, Guest, GuestSlot } from './guest.ts'
import { GRANULARITY, type Life, Storage } from './storage.ts'
import { Violation, World } from './world.ts'

/** Wrong rules to try: anything left out is the real thing. */
export interface Variant {
  readonly createTracking?: (parts: TrackingParts, simulation: Simulation) => Tracking
  readonly createFilter?: (next: BlockDevice, clock: Clock) => MirrorFilter
}

const CALM: Faults = { errorChance: 0, slowChance: 0, promptChance: 0.1, isHung: false }
const EVENTS_MAX = 100_000
/** After the last fault it has to be over within this (milliseconds). */
const CONVERGE_MS_MAX = 300_000
const STALL_MS_MAX = 20
const HOLD_MS_MAX = 500
/** How much later promises may get to something when they are interrupted. */
const HASTE_MS_MAX = 50

/** One process of the mirror, with all that dies with it. */
interface Process extends Life {
  readonly clock: Clock
  readonly gate: Gate
  readonly top: BlockDevice
  readonly source: SimulatedDisk
  readonly filter: MirrorFilter
  job: MirrorJob | undefined
  isJobAwaited: boolean
}

export class Simulation {
  readonly world: World
  /** How the last request to the source ended. */
  sourceError = 0
  readonly #variant: Variant
  readonly #size: number
  readonly #source: Platter
  readonly #target: Platter
  readonly #sourceInfo: DeviceInfo
  readonly #targetInfo: DeviceInfo
  readonly #sourceFaults: Faults = { ...CALM }
  readonly #targetFaults: Faults = { ...CALM }
  readonly #guest: Guest
  readonly #storage: Storage
  readonly #slots: number
  readonly #actions: (() => void)[] = []
  #process: Process
  /** The target's connections: one, and those that nobody wanted any more when they came about. */
  #targetDisks: SimulatedDisk[] = []
  #refuseChance = 0
  #chaosLeft: number
  #healedAt: number | undefined
  #verbs = 0
  #isDone = false
  readonly #isHasty: boolean

  constructor(seed: number, variant: Variant = {}, isTraced = false) {
    this.world = new World(seed, isTraced)
    this.#variant = variant
    const { random } = this.world
    this.#size = 9 + random.below(8)
    this.#sourceInfo = this.#createInfo(this.#size, 1)
    const blockSize = 1 + random.below(2)
    this.#targetInfo = this.#createInfo(
      Math.ceil(this.#size / 2) * 2 + random.below(2) * 2,
      blockSize,
    )
    this.#source = new Platter(this.#createContents(this.#size), false)
    this.#target = new Platter(this.#createContents(this.#targetInfo.size), true)
    this.#slots = 2 + random.below(3)
    this.#storage = new Storage(this.#size, this.#slots, 2 ** (2 + random.below(4)))
    this.#guest = new Guest(this.world, this.#size, 5 + random.below(40))
    this.#guest.stallMs = STALL_MS_MAX
    this.#isHasty = random.chance(0.3)
    this.#guest.heldMs = HOLD_MS_MAX + (this.#isHasty ? HASTE_MS_MAX : 0)
    this.#chaosLeft = random.below(25)
    this.#chooseFaults()
    this.#process = this.#createProcess()
    this.#live()
  }

  get trace(): readonly string[] {
    return this.world.trace ?? []
  }

  /** Rejects with Violation, or whatever else is thrown by the mirror. */
  async run(): Promise<void> {
    for (let events = 0; !this.#isDone; events++) {
      if (events > EVENTS_MAX) throw new Violation('it goes on and on')
      this.world.step()
      if (this.world.isKilled) this.#restart()
      this.#noteState()
      if (this.#isAsync()) for (let i = this.#patience(); i > 0; i--) await undefined
      this.#check()
    }
    if (this.#guest.lentCount > 0) throw new Violation('memory was lent and not given back')
  }

  /** How far promises get before the next event: events of one turn of an engine come in between. */
  #patience(): number {
    return this.#isHasty ? this.world.random.below(4) : 12
  }

  #isAsync(): boolean {
    const { job } = this.#process
    return (
      this.#verbs > 0 || (job !== undefined && job.state !== 'running' && job.state !== 'ready')
    )
  }

  // The world that the mirror lives in.

  #createInfo(size: number, blockSize: number): DeviceInfo {
    const { random } = this.world
    const maybe = () => random.chance(0.7)
    return {
      size,
      blockSize,
      isReadOnly: false,
      isRotational: false,
      canFua: maybe(),
      canFlush: true,
      canTrim: maybe(),
      canWriteZeroes: maybe(),
      canFastZero: maybe(),
      canBlockStatus: maybe(),
      canMultiConn: true,
    }
  }

  #createContents(size: number): Uint8Array {
    const { random } = this.world
    const density = random.chance(0.3) ? 0 : 0.6
    return Uint8Array.from({ length: size }, () => (random.chance(density) ? random.below(256) : 0))
  }

  /** Each seed has its own weather: a few kinds of faults, often. */
  #chooseFaults(): void {
    const { random } = this.world
    const add = (chance: number, action: () => void) => {
      if (random.chance(chance)) this.#actions.push(action)
    }
    add(0.5, () => this.#toggleHang())
    add(0.4, () => this.#loseTarget(false))
    add(0.3, () => this.#loseTarget(true))
    add(0.5, () => this.#kill())
    add(0.5, () => this.#complete())
    add(0.3, () => this.#cancel())
    add(0.5, () => this.#changeSettings())
    add(0.4, () => {
      this.#sourceFaults.errorChance = random.chance(0.5) ? 0.05 : 0
    })
    add(0.4, () => {
      this.#targetFaults.errorChance = random.chance(0.5) ? 0.05 : 0
    })
    add(0.3, () => {
      this.#refuseChance = random.chance(0.5) ? 0.5 : 0
    })
    if (random.chance(0.2)) this.#sourceFaults.promptChance = random.chance(0.5) ? 1 : 0.7
    if (random.chance(0.1)) this.#targetFaults.promptChance = random.chance(0.5) ? 1 : 0.7
    if (random.chance(0.5)) this.#sourceFaults.slowChance = 0.1
    if (random.chance(0.5)) this.#targetFaults.slowChance = 0.1
  }

  #createProcess(): Process {
    const { world } = this
    const life: Life = { isDead: false }
    const clock: Clock = {
      now: () => world.now(),
      createTimer: expired => mortalTimer(world.createTimer(expired), life),
    }
    const settled = (request: Request) => this.#sourceSettled(request)
    const source = new SimulatedDisk(
      world,
      this.#source,
      this.#sourceInfo,
      this.#sourceFaults,
      settled,
    )
    const probe: BlockDevice = {
      info: source.info,
      submit: request => {
        if (request.lender instanceof GuestSlot) request.lender.submittedAt = world.now()
        source.submit(request)
      },
      close: () => source.close(),
    }
    const filter = this.#variant.createFilter?.(probe, clock) ?? new MirrorFilter(probe, clock)
    const gate = new Gate(new Admission(world, filter))
    const rest = { clock, gate, top: gate, source, filter, job: undefined, isJobAwaited: false }
    return Object.assign(life, rest)
  }

  #sourceSettled(request: Request): void {
    this.sourceError = request.error
    if (!(request.lender instanceof GuestSlot)) return
    request.lender.sourceError = request.error
    request.lender.settledAt = this.world.now()
  }

  /** Everything that happens of itself. */
  #live(): void {
    this.#every(0, 3, () => this.#actGuest())
    this.#every(1, 12, () => this.#actChaos())
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
    const { random } = this.world
    if (this.#guest.budget === 0) return
    const count = random.chance(0.2) ? 4 : 1
    for (let i = 0; i < count && this.#guest.budget > 0 && this.#guest.inFlight < 6; i++) {
      this.#guest.issue(this.#process.top)
    }
  }

  #actChaos(): void {
    if (this.#chaosLeft > 0) {
      this.#chaosLeft--
      const action = this.#actions[this.world.random.below(this.#actions.length)]
      action?.()
      if (this.world.random.chance(0.3)) this.#target.landStray(this.world)
    } else if (this.#guest.budget === 0 && this.#healedAt === undefined) {
      this.#heal()
    }
  }

  #heal(): void {
    this.world.note(() => 'no more faults')
    this.#healedAt = this.world.now()
    this.#sourceFaults.errorChance = 0
    this.#targetFaults.errorChance = 0
    this.#refuseChance = 0
    this.#targetFaults.isHung = false
    for (const disk of this.#targetDisks) disk.unhang()
    this.world.killIn(-1)
  }

  /** Starts a job where there is none, and ends it when all is calm. */
  #supervise(): void {
    const process = this.#process
    if (process.job === undefined) {
      if (process.filter.tracking === undefined) {
        this.#storage.reset()
        this.#startJob(process, this.#openTracking(process))
      } else {
        this.#startJob(process, process.filter.tracking)
      }
    }
    if (this.#healedAt === undefined) return
    if (this.#guest.inFlight === 0) this.#complete()
    if (this.world.now() - this.#healedAt > CONVERGE_MS_MAX)
      throw new Violation('does not converge')
  }

  #openTracking(life: Life): Tracking {
    const parts = this.#storage.open(this.world, life)
    return this.#variant.createTracking?.(parts, this) ?? new Tracking(parts)
  }

  #startJob(process: Process, tracking: Tracking): void {
    const { random } = this.world
    const choices = ['auto', 'auto', 'background', 'write-blocking'] as const
    const length = GRANULARITY * 2 ** random.below(3)
    const job = new MirrorJob({
      filter: process.filter,
      gate: {
        quiesceWithin: (clock, timeoutMs) => process.gate.quiesceWithin(clock, timeoutMs),
        resume: () => {
          if (process.isDead) return
          // The last moment at which nobody can have written.
          if (job.status().outcome === 'completed') this.#finish()
          process.gate.resume()
        },
      },
      clock: process.clock,
      tracking,
      connectTarget: () => this.#connect(() => process.isDead || job.state === 'concluded'),
      memory: Array.from({ length: this.#slots }, () => {
        const memory = new SimulatedMemory(length)
        memory.isLent = true
        return memory
      }),
      copyMode: choices[random.below(4)]!,
      bandwidth: 0,
      stallMs: 5 + random.below(STALL_MS_MAX - 4),
      reconnectSeconds: random.below(3) * 2,
      limits: {
        syncSeconds: 0.001 * random.below(10),
        syncBytes: random.below(7),
        passesMax: 1 + random.below(4),
        readySeconds: 0.001 * random.below(10),
        readyBytes: random.below(5),
        stallPauseMs: 1 + random.below(20),
        stallPauseMsMax: 100,
      },
    })
    this.world.note(() => `job starts, ${job.status().copyModeChoice}`)
    process.job = job
    process.isJobAwaited = false
    this.#verbs++
    job
      .start()
      .catch(() => {})
      .finally(() => this.#verbs--)
  }

  #connect(isUnwanted: () => boolean): Promise<BlockDevice> {
    return new Promise((resolve, reject) => {
      this.world.after(this.world.between(0.1, 20), () => {
        if (this.world.random.chance(this.#refuseChance) || isUnwanted()) {
          reject(new Error('connection refused'))
          return
        }
        while (this.#target.strays.length > 0) this.#target.landStray(this.world)
        this.world.note(() => 'target connected')
        const disk = new SimulatedDisk(
          this.world,
          this.#target,
          this.#targetInfo,
          this.#targetFaults,
        )
        this.#targetDisks = this.#targetDisks.filter(({ isConnected }) => isConnected)
        this.#targetDisks.push(disk)
        resolve(disk)
      })
    })
  }

  // What befalls it.

  #toggleHang(): void {
    this.world.note(() => `target ${this.#targetFaults.isHung ? 'answers again' : 'hangs'}`)
    this.#targetFaults.isHung = !this.#targetFaults.isHung
    if (!this.#targetFaults.isHung) for (const disk of this.#targetDisks) disk.unhang()
  }

  #loseTarget(isRestarted: boolean): void {
    this.world.note(() => `target ${isRestarted ? 'restarts' : 'loses its connection'}`)
    for (const disk of this.#targetDisks) disk.disconnect()
    if (!isRestarted) return
    this.#target.strays.length = 0
    this.#target.loseUnflushed(this.world)
  }

  /** Between two stores, or between two events. */
  #kill(): void {
    const { random } = this.world
    if (random.chance(0.7)) this.world.killIn(random.below(8))
    else this.world.isKilled = true
  }

  #restart(): void {
    this.world.note(() => 'the process is killed and started again')
    const { random } = this.world
    this.#process.isDead = true
    this.#process.source.abandon()
    for (const disk of this.#targetDisks.splice(0)) disk.disconnect()
    this.world.forget()
    this.#guest.abandon()
    this.#verbs = 0
    this.#targetFaults.isHung = false
    if (random.chance(0.3)) {
      this.#target.strays.length = 0
      this.#target.loseUnflushed(this.world)
    }
    this.#process = this.#createProcess()
    if (this.#storage.isThere) this.#process.filter.attach(this.#openTracking(this.#process))
    this.#live()
  }

  #changeSettings(): void {
    const { random } = this.world
    const { job } = this.#process
    if (job === undefined || job.state === 'concluded') return
    const choices = ['auto', 'background', 'write-blocking'] as const
    const copyMode = choices[random.below(3)]!
    this.world.note(() => `copy mode ${copyMode}`)
    job.set({
      copyMode,
      bandwidth: random.below(4) * 500,
      stallMs: 5 + random.below(STALL_MS_MAX - 4),
    })
  }

  #cancel(): void {
    const { job } = this.#process
    if (job === undefined || job.state === 'concluded') return
    this.world.note(() => 'cancel')
    job.cancel().catch(() => {})
    if (this.world.random.chance(0.5)) {
      this.world.after(this.world.between(0, 4), () => {
        this.world.isKilled = true
      })
    }
  }

  #complete(): void {
    const process = this.#process
    const { job } = process
    if (job?.state !== 'ready') return
    const { random } = this.world
    const options = {
      verify: random.chance(0.3),
      resume: random.chance(0.5),
      timeoutMs: 20 + random.below(HOLD_MS_MAX - 20),
    }
    this.world.note(() => 'complete')
    this.#verbs++
    job
      .complete(options)
      .then(
        () => {
          if (!process.isDead) this.#finish()
        },
        (error: { code?: string }) => {
          if (!process.isDead && error.code === 'verify-difference') this.#fail(error)
        },
      )
      .finally(() => this.#verbs--)
  }

  #fail(error: unknown): void {
    this.world.failure ??= error
  }

  /**
   * A switchover has completed: what the target keeps through a power failure is what the guest
   * had.
   */
  #finish(): void {
    if (this.#isDone) return
    this.world.note(() => 'completed')
    if (this.#process.source.isWriting(0, this.#size)) this.#fail(new Violation('still writing'))
    for (let at = 0; at < this.#size; at++) {
      if (this.#source.bytes[at] !== this.#target.durable[at]) {
        this.#fail(new Violation(`disks differ at ${at} after completion`))
      }
    }
    this.#isDone = true
  }

  // Invariant: a chunk that is clean and unclaimed is equal on both sides, and nothing in flight
  // can change that. While it is in the flush log it may be lost together with the connection.

  #check(): void {
    if (this.world.failure !== undefined) throw this.world.failure
    const process = this.#process
    this.#noteClosed(process)
    if (process.filter.tracking === undefined) return
    const clean = this.#storage.cleanMask()
    if (clean === 0) return
    const unflushed = this.#storage.unflushedMask()
    for (let chunk = 0; chunk < this.#storage.chunks; chunk++) {
      if ((clean & (1 << chunk)) !== 0) this.#checkChunk(chunk, (unflushed & (1 << chunk)) !== 0)
    }
  }

  #checkChunk(chunk: number, isUnflushed: boolean): void {
    const offset = chunk * GRANULARITY
    const end = Math.min(this.#size, offset + GRANULARITY)
    const isConnected = this.#targetDisks.some(disk => disk.isConnected)
    for (let at = offset; at < end; at++) {
      if ((isConnected || !isUnflushed) && this.#source.bytes[at] !== this.#target.bytes[at]) {
        throw new Violation(`chunk ${chunk} is clean and differs`)
      }
      if (!isUnflushed && this.#source.bytes[at] !== this.#target.durable[at]) {
        throw new Violation(`chunk ${chunk} is clean, flushed and differs`)
      }
    }
    if (this.#process.source.isWriting(offset, end)) {
      throw new Violation(`chunk ${chunk} is clean under a write of the guest`)
    }
    if (this.#targetDisks.some(disk => disk.isWriting(offset, end))) {
      throw new Violation(`chunk ${chunk} is clean under a write to the target`)
    }
    for (const { at, bytes } of this.#target.strays) {
      if (at < end && offset < at + bytes.length) {
        throw new Violation(`chunk ${chunk} is clean under a write of a lost connection`)
      }
    }
  }

  #lastState = ''

  #noteState(): void {
    if (this.world.trace === undefined || this.#process.job === undefined) return
    const { state, copyMode, activelySynced, error } = this.#process.job.status()
    const unflushed = this.#storage.unflushedMask().toString(2)
    const masks = `clean ${this.#storage.cleanMask().toString(2)} unflushed ${unflushed}`
    const text = `  ${state} ${copyMode}${activelySynced ? ' synced' : ''} ${masks} ${error ?? ''}`
    if (text !== this.#lastState) this.world.note(() => text)
    this.#lastState = text
  }

  /** A new job may start only when the old one has let go of everything. */
  #noteClosed(process: Process): void {
    const { job } = process
    if (job?.state !== 'concluded' || process.isJobAwaited) return
    process.isJobAwaited = true
    this.#verbs++
    void job.closed.then(() => {
      process.job = undefined
      this.#verbs--
    })
  }
}

/** A timer that a dead process cannot arm. */
function mortalTimer(timer: Timer, life: Life): Timer {
  return {
    arm: delayMs => {
      if (!life.isDead) timer.arm(delayMs)
    },
    disarm: () => timer.disarm(),
  }
}
