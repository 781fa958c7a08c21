/** What a disk holds, apart from who is connected to it. */
import type { World } from './world.ts'

/** The bytes of a disk, and what would be left of them after a power failure. */
export class Platter {
  readonly bytes: Uint8Array
  readonly durable: Uint8Array
  /** Writes of a lost connection that are still on their way. */
  readonly strays: { at: number; bytes: Uint8Array }[] = []

  /** Whether a flush that fails loses something. */
  readonly isLossy: boolean

  constructor(bytes: Uint8Array, isLossy: boolean) {
    this.isLossy = isLossy
    this.bytes = bytes
    this.durable = bytes.slice()
  }

  /** Some of what was not flushed is gone. */
  loseUnflushed(world: World): void {
    for (let i = 0; i < this.bytes.length; i++) {
      if (world.random.chance(0.6)) this.bytes[i] = this.durable[i]!
    }
    this.durable.set(this.bytes)
  }

  /** One of the strays lands, in full or in part, or vanishes. */
  landStray(world: World): void {
    const stray = this.strays.pop()
    if (stray === undefined || world.random.chance(0.3)) return
    const length = 1 + world.random.below(stray.bytes.length)
    this.bytes.set(stray.bytes.subarray(0, length), stray.at)
  }
}
