/**
 * What a seed is like: the size and abilities of its disks, and which kinds of faults it has. Each
 * seed has a few kinds, often, so that they meet each other.
 */
import type { DeviceInfo } from '../../src/block/device.ts'
import type { ConvergenceLimits, CopyModeChoice } from '../../src/mirror/convergence.ts'
import type { Random } from '../support/random.ts'
import type { Faults } from './disk.ts'
import type { TargetHost } from './target-host.ts'

export function chooseInfo(random: Random, size: number, blockSize: number): DeviceInfo {
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

export function chooseContents(random: Random, size: number): Uint8Array {
  const density = random.chance(0.3) ? 0 : 0.6
  return Uint8Array.from({ length: size }, () => (random.chance(density) ? random.below(256) : 0))
}

export function chooseLimits(random: Random): ConvergenceLimits {
  return {
    syncSeconds: 0.001 * random.below(10),
    syncBytes: random.below(7),
    passesMax: 1 + random.below(4),
    readySeconds: 0.001 * random.below(10),
    readyBytes: random.below(5),
    stallPauseMs: 1 + random.below(20),
    stallPauseMsMax: 100,
  }
}

export function chooseCopyMode(random: Random): CopyModeChoice {
  return (['auto', 'auto', 'background', 'write-blocking'] as const)[random.below(4)]!
}

/** How fast the disks answer. */
export function chooseSpeed(random: Random, source: Faults, target: Faults): void {
  if (random.chance(0.2)) source.promptChance = random.chance(0.5) ? 1 : 0.7
  if (random.chance(0.1)) target.promptChance = random.chance(0.5) ? 1 : 0.7
  if (random.chance(0.5)) source.slowChance = 0.1
  if (random.chance(0.5)) target.slowChance = 0.1
}

const STALL_MS_MIN = 5
export const STALL_MS_MAX = 20

export function chooseStallMs(random: Random): number {
  return STALL_MS_MIN + random.below(STALL_MS_MAX - STALL_MS_MIN + 1)
}

/** What an operator and a kernel do to the mirror's process. */
export interface Deeds {
  kill(): void
  complete(): void
  cancel(): void
  changeSettings(): void
}

/** What may happen at any moment in this seed; one of them at a time. */
export function chooseActions(
  random: Random,
  deeds: Deeds,
  target: TargetHost,
  sourceFaults: Faults,
): (() => void)[] {
  const actions: (() => void)[] = []
  const add = (chance: number, action: () => void) => {
    if (random.chance(chance)) actions.push(action)
  }
  const errorChance = () => (random.chance(0.5) ? 0.05 : 0)
  add(0.5, () => target.toggleHang())
  add(0.4, () => target.loseConnections())
  add(0.3, () => target.restart())
  add(0.5, () => deeds.kill())
  add(0.5, () => deeds.complete())
  add(0.3, () => deeds.cancel())
  add(0.5, () => deeds.changeSettings())
  add(0.4, () => {
    sourceFaults.errorChance = errorChance()
  })
  add(0.4, () => {
    target.faults.errorChance = errorChance()
  })
  add(0.3, () => {
    target.refuseChance = random.chance(0.5) ? 0.5 : 0
  })
  return actions
}
