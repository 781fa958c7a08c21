/** The host of the target: one disk, connections that come and go, and what befalls them. */
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import { CALM, type Faults, SimulatedDisk } from './disk.ts'
import type { Platter } from './platter.ts'
import type { World } from './world.ts'

export class TargetHost {
  readonly platter: Platter
  readonly faults: Faults = { ...CALM }
  /** Of a connection being refused. */
  refuseChance = 0
  readonly #world: World
  readonly #info: DeviceInfo
  /** One, and those that nobody wanted any more when they came about. */
  #connections: SimulatedDisk[] = []

  constructor(world: World, platter: Platter, info: DeviceInfo) {
    this.#world = world
    this.platter = platter
    this.#info = info
  }

  get isConnected(): boolean {
    return this.#connections.some(({ isConnected }) => isConnected)
  }

  /** True if a write on its way, also of a lost connection, may change bytes of the range. */
  isWriting(offset: number, end: number): boolean {
    return (
      this.#connections.some(connection => connection.isWriting(offset, end)) ||
      this.platter.strays.some(({ at, bytes }) => at < end && offset < at + bytes.length)
    )
  }

  /** What was on its way in lost connections has landed or vanished when a new one is accepted. */
  connect(isUnwanted: () => boolean): Promise<BlockDevice> {
    return new Promise((resolve, reject) => {
      this.#world.after(this.#world.between(0.1, 20), () => {
        if (this.#world.random.chance(this.refuseChance) || isUnwanted()) {
          reject(new Error('connection refused'))
          return
        }
        while (this.platter.strays.length > 0) this.platter.landStray(this.#world)
        this.#world.note(() => 'target connected')
        const connection = new SimulatedDisk(this.#world, this.platter, this.#info, this.faults)
        this.#connections = this.#connections.filter(({ isConnected }) => isConnected)
        this.#connections.push(connection)
        resolve(connection)
      })
    })
  }

  /** Hangs, or goes on. */
  toggleHang(): void {
    this.#world.note(() => `target ${this.faults.isHung ? 'answers again' : 'hangs'}`)
    this.faults.isHung = !this.faults.isHung
    if (!this.faults.isHung) for (const connection of this.#connections) connection.unhang()
  }

  loseConnections(): void {
    this.#world.note(() => 'target loses its connection')
    for (const connection of this.#connections) connection.disconnect()
  }

  /** Comes back without some of what it has not flushed. */
  restart(): void {
    this.#world.note(() => 'target restarts')
    for (const connection of this.#connections) connection.disconnect()
    this.platter.strays.length = 0
    this.platter.loseUnflushed(this.#world)
  }

  heal(): void {
    if (this.faults.isHung) this.toggleHang()
    this.faults.errorChance = 0
    this.refuseChance = 0
  }
}
