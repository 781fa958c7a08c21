/**
 * A mirror over memory, for tests that look at one part: small chunks of the real size, virtual
 * time, requests by hand.
 */
import type { BlockDevice } from '../../src/block/device.ts'
import { Gate } from '../../src/block/gate.ts'
import type { MemoryDevice } from '../../src/block/memory.ts'
import type { Memory } from '../../src/io/memory.ts'
import { bitmapFileBytes, createBitmapFile } from '../../src/mirror/bitmap-file.ts'
import { MirrorJob } from '../../src/mirror/job.ts'
import type { MirrorJobOptions } from '../../src/mirror/job-options.ts'
import { MirrorFilter } from '../../src/mirror/mirror-filter.ts'
import type { Tracking } from '../../src/mirror/tracking.ts'
import { heapMemory } from './requests.ts'
import { VirtualClock } from './virtual-clock.ts'

export const CHUNK = 4096

/** Rules over bits that are all dirty. */
export function createTracking(size: number): Tracking {
  const file = new Uint8Array(bitmapFileBytes(size, CHUNK))
  return createBitmapFile(file, { size, granularity: CHUNK, disk: 'disk', target: 'target' })
}

export function createMemory(count: number, length: number): Memory[] {
  return Array.from({ length: count }, () => heapMemory(length))
}

export interface MirrorParts {
  readonly clock: VirtualClock
  readonly source: MemoryDevice
  readonly filter: MirrorFilter
  readonly gate: Gate
  readonly tracking: Tracking
  readonly job: MirrorJob
}

/** A job from `source` to whatever `connectTarget` gives, not started. */
export function createMirror(
  source: MemoryDevice,
  connectTarget: () => Promise<BlockDevice>,
  { below = source, ...options }: Partial<MirrorJobOptions> & { below?: BlockDevice } = {},
): MirrorParts {
  const clock = new VirtualClock()
  const filter = new MirrorFilter(below, clock)
  const gate = new Gate(filter)
  const tracking = createTracking(source.info.size)
  const job = new MirrorJob({
    filter,
    gate,
    clock,
    tracking,
    connectTarget,
    memory: createMemory(4, 4 * CHUNK),
    copyMode: 'auto',
    bandwidth: 0,
    stallMs: 100,
    reconnectSeconds: 0,
    ...options,
  })
  return { clock, source, filter, gate, tracking, job }
}

/**
 * Moves time on in small steps, promises running in between, until the condition holds or the time
 * is over.
 */
export async function runUntil(
  clock: VirtualClock,
  condition: () => boolean,
  withinMs = 60_000,
): Promise<boolean> {
  for (let passedMs = 0; passedMs <= withinMs; passedMs += 5) {
    for (let i = 0; i < 20; i++) await undefined
    if (condition()) return true
    clock.advance(5)
  }
  return false
}
