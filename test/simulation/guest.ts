/**
 * A guest: keeps some requests in flight, overlapping ones too, and checks every answer against
 * what its own disk said and when.
 */
import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from 'nbd-client-ts'
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import { type Completion, type Lender, Request } from '../../src/block/request.ts'
import { SimulatedMemory } from './disk.ts'
import type { World } from './world.ts'

/** One request of the guest and what is known of its way. */
export class GuestSlot implements Completion, Lender {
  readonly request: Request = new Request()
  readonly memory: SimulatedMemory
  readonly #guest: Guest
  issuedAt = 0
  admittedAt = 0
  submittedAt = 0
  settledAt = 0
  sourceError = 0
  isFree = true

  constructor(guest: Guest, size: number) {
    this.#guest = guest
    this.memory = new SimulatedMemory(size)
    this.request.lender = this
  }

  /** The guest's own disk has answered. */
  sourceSettled(error: number): void {
    this.sourceError = error
    this.settledAt = this.#guest.world.now()
  }

  completed(): void {
    this.#guest.answered(this)
    if (!this.request.isLent) this.givenBack()
  }

  givenBack(): void {
    this.memory.isLent = false
    this.isFree = true
  }
}

/** Passes requests on from the gate to the mirror and notes when. */
export class Admission implements BlockDevice {
  readonly info: DeviceInfo
  readonly #next: BlockDevice
  readonly #world: World

  constructor(world: World, next: BlockDevice) {
    this.#world = world
    this.#next = next
    this.info = next.info
  }

  submit(request: Request): void {
    if (request.lender instanceof GuestSlot) request.lender.admittedAt = this.#world.now()
    this.#next.submit(request)
  }

  async close(): Promise<void> {}
}

const SLACK_MS = 0.001

export class Guest {
  readonly world: World
  readonly #size: number
  readonly #slots: GuestSlot[] = []
  readonly #hotSpot: number
  #value = 0
  #inFlight = 0
  /** The longest that a request may wait for the target, and at the gate. */
  stallMs = 0
  heldMs = 0
  /** Requests still to be issued. */
  budget: number

  constructor(world: World, size: number, budget: number) {
    this.world = world
    this.#size = size
    this.#hotSpot = world.random.below(size)
    this.budget = budget
  }

  get inFlight(): number {
    return this.#inFlight
  }

  /** Requests whose memory somebody still holds. */
  get lentCount(): number {
    return this.#slots.filter(slot => slot.request.isLent).length
  }

  issue(device: BlockDevice): void {
    const { random } = this.world
    const slot = this.#takeSlot()
    const { request, memory } = slot
    this.#choose(request)
    for (let i = 0; i < request.length; i++) memory.bytes[i] = this.#nextValue()
    if (random.chance(0.05)) memory.bytes.fill(0)
    request.memory = memory
    this.world.note(() => `guest ${request.command} at ${request.offset}+${request.length}`)
    memory.isLent = true
    slot.isFree = false
    slot.issuedAt = this.world.now()
    this.budget--
    this.#inFlight++
    request.push(slot)
    device.submit(request)
  }

  answered(slot: GuestSlot): void {
    // An answer of a process that is dead reaches nobody.
    if (!this.#slots.includes(slot)) return
    this.#inFlight--
    const now = this.world.now()
    const { request, admittedAt, issuedAt, submittedAt, settledAt } = slot
    this.world.note(
      () => `guest ${request.command} at ${request.offset} is answered ${request.error}`,
    )
    if (request.error !== slot.sourceError) {
      this.world.fail(`guest got ${request.error}, its disk said ${slot.sourceError}`)
    }
    const deadline = admittedAt + this.stallMs + SLACK_MS
    if (submittedAt > deadline) this.world.fail('guest request reached its disk too late')
    if (now > Math.max(settledAt, deadline)) this.world.fail('guest waited for the target')
    if (admittedAt - issuedAt > this.heldMs + SLACK_MS) this.world.fail('guest was held too long')
  }

  /** The process is killed: nobody answers any more. */
  abandon(): void {
    this.#slots.length = 0
    this.#inFlight = 0
  }

  #takeSlot(): GuestSlot {
    const free = this.#slots.find(slot => slot.isFree)
    if (free !== undefined) return free
    const slot = new GuestSlot(this, this.#size)
    this.#slots.push(slot)
    return slot
  }

  #choose(request: Request): void {
    const { random } = this.world
    const fua = random.chance(0.1) ? NBD_CMD_FLAG_FUA : 0
    const kind = random.below(20)
    if (kind === 0) {
      request.set(NBD_CMD_FLUSH, 0, 0, 0)
      return
    }
    const isHot = random.chance(0.4)
    const offset = isHot ? this.#hotSpot : random.below(this.#size)
    const lengthMax = random.chance(0.1) ? this.#size : 5
    const length = 1 + random.below(Math.min(this.#size - offset, lengthMax))
    if (kind === 1) request.set(NBD_CMD_READ, 0, offset, length)
    else if (kind <= 3) request.set(NBD_CMD_TRIM, fua, offset, length)
    else if (kind <= 5) request.set(NBD_CMD_WRITE_ZEROES, fua, offset, length)
    else request.set(NBD_CMD_WRITE, fua, offset, length)
  }

  /** Distinct among any 250 in a row, and not 0. */
  #nextValue(): number {
    this.#value = (this.#value % 251) + 1
    return this.#value
  }
}
