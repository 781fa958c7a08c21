/**
 * Disks of a few bytes, each byte standing for a sector. A write lands byte by byte, in the midst
 * of everything else, reading its payload at the last moment; it may be torn by an error, hang, or
 * lose its connection and land late or never.
 */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
} from 'nbd-client-ts'
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import { EIO, ENOTSUP, ESHUTDOWN } from '../../src/block/errno.ts'
import type { Request } from '../../src/block/request.ts'
import type { Memory } from '../../src/io/memory.ts'
import type { Platter } from './platter.ts'
import type { World } from './world.ts'

/** Memory that knows whether it may be read by a device now. */
export class SimulatedMemory implements Memory {
  readonly bytes: Uint8Array
  readonly address = 0
  isLent: boolean

  constructor(length: number, isLent = false) {
    this.bytes = new Uint8Array(length)
    this.isLent = isLent
  }
}

/** What can go wrong at the moment. */
export interface Faults {
  errorChance: number
  slowChance: number
  /** Of a request going on at once, inside the call, without time going by. */
  promptChance: number
  isHung: boolean
}

export const CALM: Faults = { errorChance: 0, slowChance: 0, promptChance: 0.1, isHung: false }

/** One request under way. */
interface Job {
  readonly request: Request
  done: number
  snapshot: Uint8Array | undefined
}

const WRITES = new Set([NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES, NBD_CMD_TRIM])

export class SimulatedDisk implements BlockDevice {
  readonly info: DeviceInfo
  readonly platter: Platter
  readonly faults: Faults
  readonly jobs: Job[] = []
  readonly #world: World
  readonly #settled: (request: Request) => void
  #parked: Job[] = []
  #isDown = false
  #closing: (() => void) | undefined

  constructor(
    world: World,
    platter: Platter,
    info: DeviceInfo,
    faults: Faults,
    settled: (request: Request) => void = () => {},
  ) {
    this.#world = world
    this.platter = platter
    this.info = info
    this.faults = faults
    this.#settled = settled
  }

  get isConnected(): boolean {
    return !this.#isDown
  }

  submit(request: Request): void {
    if (this.#isDown) {
      this.#end(request, ESHUTDOWN)
      return
    }
    const job: Job = { request, done: 0, snapshot: undefined }
    if (request.command === NBD_CMD_FLUSH) job.snapshot = this.platter.bytes.slice()
    this.jobs.push(job)
    this.#world.work()
    const side = this.platter.isLossy ? 'target' : 'source'
    this.#world.note(() => `    ${side} ${request.command} at ${request.offset}+${request.length}`)
    this.#goOn(job)
  }

  /** What hung goes on. */
  unhang(): void {
    this.faults.isHung = false
    const parked = this.#parked
    this.#parked = []
    for (const job of parked) this.#later(job)
  }

  /**
   * The connection breaks. What was on its way to the disk may still arrive, until somebody
   * connects anew.
   */
  disconnect(): void {
    if (this.#isDown) return
    this.#isDown = true
    for (const job of this.jobs.splice(0)) {
      this.#stray(job)
      this.#world.after(this.#world.between(0, 2), () => {
        this.#end(job.request, ESHUTDOWN)
        if (this.jobs.length === 0 && --this.#owed === 0) this.#closing?.()
      })
      this.#owed++
    }
    this.#parked = []
  }

  #owed = 0

  async close(): Promise<void> {
    this.disconnect()
    if (this.#owed > 0) {
      await new Promise<void>(resolve => {
        this.#closing = resolve
      })
    }
  }

  /** The process is killed: what is under way lands, or some of it does, or nothing. */
  abandon(): void {
    for (const job of this.jobs.splice(0)) {
      const steps = this.#world.random.below(4)
      if (WRITES.has(job.request.command)) for (let i = 0; i < steps; i++) this.#land(job)
    }
    this.#parked = []
    this.#isDown = true
  }

  /** True if a write in flight may still change bytes of the range. */
  isWriting(offset: number, end: number): boolean {
    return this.jobs.some(
      ({ request }) =>
        WRITES.has(request.command) &&
        request.offset < end &&
        offset < request.offset + request.length,
    )
  }

  #goOn(job: Job): void {
    const isPrompt = this.#world.random.chance(this.faults.promptChance)
    if (isPrompt && !this.faults.isHung) this.#advance(job)
    else this.#later(job)
  }

  #later(job: Job): void {
    const { random } = this.#world
    const delayMs = random.chance(this.faults.slowChance)
      ? this.#world.between(5, 60)
      : this.#world.between(0.05, 1.5)
    this.#world.after(delayMs, () => {
      if (this.#isDown) return
      if (this.faults.isHung) this.#parked.push(job)
      else this.#advance(job)
    })
  }

  #advance(job: Job): void {
    const { request } = job
    const { random } = this.#world
    // Flushes are few, and their failures the most instructive.
    const errorChance = this.faults.errorChance * (job.snapshot === undefined ? 1 : 6)
    if (random.chance(errorChance)) {
      this.#fail(job)
      return
    }
    const isPiecewise = WRITES.has(request.command) || request.command === NBD_CMD_READ
    if (isPiecewise && job.done < request.length) {
      if (
        (request.flags & NBD_CMD_FLAG_FAST_ZERO) !== 0 &&
        request.command === NBD_CMD_WRITE_ZEROES &&
        random.chance(0.2)
      ) {
        this.#finish(job, ENOTSUP)
        return
      }
      this.#land(job)
      if (job.done < request.length || random.chance(0.7)) {
        this.#goOn(job)
        return
      }
    }
    if (job.snapshot !== undefined) this.platter.durable.set(job.snapshot)
    if (request.command === NBD_CMD_BLOCK_STATUS) this.#map(request)
    this.#finish(job, 0)
  }

  #fail(job: Job): void {
    if (WRITES.has(job.request.command) && this.#world.random.chance(0.5)) this.#land(job)
    // A flush that fails has lost something, and says so once.
    if (job.snapshot !== undefined && this.platter.isLossy) this.platter.loseUnflushed(this.#world)
    this.#finish(job, EIO)
  }

  /** The next piece of a request reaches the disk. */
  #land(job: Job): void {
    const { request } = job
    const { random } = this.#world
    const { bytes } = this.platter
    const count = Math.min(request.length - job.done, 1 + random.below(request.length))
    for (let i = 0; i < count; i++, job.done++) {
      const at = request.offset + job.done
      const memory = request.memory as SimulatedMemory | undefined
      if (request.command === NBD_CMD_READ) {
        memory!.bytes[request.memoryOffset + job.done] = bytes[at]!
      } else if (request.command === NBD_CMD_WRITE) {
        if (!memory!.isLent) this.#world.fail('memory was reused while a device was reading it')
        bytes[at] = memory!.bytes[request.memoryOffset + job.done]!
      } else if (request.command === NBD_CMD_WRITE_ZEROES) {
        bytes[at] = 0
      } else if (random.chance(0.7)) {
        bytes[at] = random.chance(0.7) ? 0 : random.below(256)
      }
    }
  }

  #stray({ request, done }: Job): void {
    if (!WRITES.has(request.command) || done === request.length) return
    const at = request.offset + done
    const rest = new Uint8Array(request.length - done)
    if (request.command === NBD_CMD_WRITE) {
      const from = request.memoryOffset + done
      rest.set(request.memory!.bytes.subarray(from, from + rest.length))
    }
    this.platter.strays.push({ at, bytes: rest })
  }

  #map({ extents, offset, length }: Request): void {
    const { bytes } = this.platter
    // Shorter answers than asked for, and data that happens to be zero, are allowed.
    const { random } = this.#world
    const count = random.chance(0.2) ? 1 + random.below(length) : length
    const isBlind = random.chance(0.1)
    for (let at = offset; at < offset + count; at++) {
      const isZero = bytes[at] === 0 && !isBlind
      if (!extents!.add(1, isZero ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0)) return
    }
  }

  #finish(job: Job, error: number): void {
    this.jobs.splice(this.jobs.indexOf(job), 1)
    this.#end(job.request, error)
  }

  #end(request: Request, error: number): void {
    request.error = error
    this.#settled(request)
    request.complete(error)
  }
}
