/** What a run may be made of instead of the real thing, and what may come of a switchover. */
import type { BlockDevice } from '../../src/block/device.ts'
import type { Clock } from '../../src/io/clock.ts'
import { MirrorError } from '../../src/mirror/mirror-error.ts'
import type { MirrorFilter } from '../../src/mirror/mirror-filter.ts'
import type { Tracking, TrackingParts } from '../../src/mirror/tracking.ts'
import type { Simulation } from './simulation.ts'
import { KILLED } from './world.ts'

/** Wrong rules to try: anything left out is the real thing. */
export interface Variant {
  readonly createTracking?: (parts: TrackingParts, simulation: Simulation) => Tracking
  readonly createFilter?: (next: BlockDevice, clock: Clock) => MirrorFilter
}

/** What a switchover may fail with; everything else is a defect. */
export function isExpected(error: unknown): boolean {
  if (error === KILLED) return true
  return error instanceof MirrorError && error.code !== 'verify-difference'
}
