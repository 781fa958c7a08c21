/** One process of the mirror: a chain as in production, a job, and all that dies with it. */
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import { Gate } from '../../src/block/gate.ts'
import type { Request } from '../../src/block/request.ts'
import type { Clock, Timer } from '../../src/io/clock.ts'
import type { MirrorJob } from '../../src/mirror/job.ts'
import { MirrorFilter } from '../../src/mirror/mirror-filter.ts'
import { type Faults, SimulatedDisk } from './disk.ts'
import { Admission, GuestSlot } from './guest.ts'
import type { Platter } from './platter.ts'
import type { Life, Storage } from './storage.ts'
import type { World } from './world.ts'

export interface ProcessOptions {
  readonly platter: Platter
  readonly info: DeviceInfo
  readonly faults: Faults
  readonly createFilter: ((next: BlockDevice, clock: Clock) => MirrorFilter) | undefined
}

export class Process implements Life {
  isDead = false
  readonly clock: Clock
  readonly gate: Gate
  readonly source: SimulatedDisk
  readonly filter: MirrorFilter
  job: MirrorJob | undefined
  /** Verbs of the job that have not settled. */
  verbs = 0
  /** How the last request to the source ended. */
  sourceError = 0
  #isJobAwaited = false

  constructor(world: World, { platter, info, faults, createFilter }: ProcessOptions) {
    this.clock = {
      now: () => world.now(),
      createTimer: expired => mortalTimer(world.createTimer(expired), this),
    }
    this.source = new SimulatedDisk(world, platter, info, faults, request => this.#settled(request))
    const probe: BlockDevice = {
      info,
      submit: request => {
        if (request.lender instanceof GuestSlot) request.lender.submittedAt = world.now()
        this.source.submit(request)
      },
      close: () => this.source.close(),
    }
    this.filter = createFilter?.(probe, this.clock) ?? new MirrorFilter(probe, this.clock)
    this.gate = new Gate(new Admission(world, this.filter))
  }

  /** Somebody waits for a promise to get on. */
  get isAsync(): boolean {
    const state = this.job?.state
    return this.verbs > 0 || (state !== undefined && state !== 'running' && state !== 'ready')
  }

  startJob(job: MirrorJob): void {
    this.job = job
    this.#isJobAwaited = false
    this.run(job.start().catch(() => {}))
  }

  /** Counts a verb until it has settled. */
  run(verb: Promise<void>): void {
    this.verbs++
    void verb.finally(() => this.verbs--)
  }

  /** A new job may start only when the old one has let go of everything. */
  noteClosed(): void {
    const { job } = this
    if (job?.state !== 'concluded' || this.#isJobAwaited) return
    this.#isJobAwaited = true
    const forget = () => {
      this.job = undefined
    }
    this.run(job.closed.then(forget))
  }

  #settled(request: Request): void {
    this.sourceError = request.error
    if (request.lender instanceof GuestSlot) request.lender.sourceSettled(request.error)
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

/** What the job and its bits are like, for a trace. */
export function stateOf({ job }: Process, storage: Storage): string {
  if (job === undefined) return '  no job'
  const { state, copyMode, activelySynced, error } = job.status()
  const unflushed = storage.unflushedMask().toString(2)
  const masks = `clean ${storage.cleanMask().toString(2)} unflushed ${unflushed}`
  return `  ${state} ${copyMode}${activelySynced ? ' synced' : ''} ${masks} ${error ?? ''}`
}
