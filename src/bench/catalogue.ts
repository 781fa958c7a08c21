/** All scenarios, in the order in which they run. */
import type { Scenario } from './scenario.ts'
import { MIRROR_PACED, MIRROR_UNTHROTTLED } from './scenarios/mirror-guest.ts'
import { MIRROR_HANG } from './scenarios/mirror-hang.ts'
import { MIRROR_IDLE, MIRROR_IDLE_TLS } from './scenarios/mirror-idle.ts'
import { MIRROR_OUTAGE } from './scenarios/mirror-outage.ts'
import { MIRROR_STEADY } from './scenarios/mirror-steady.ts'
import { MIRROR_SWITCHOVER } from './scenarios/mirror-switchover.ts'
import { SCALE_BITMAP } from './scenarios/scale-bitmap.ts'
import { SCALE_DISKS } from './scenarios/scale-disks.ts'
import { SCALE_MEMORY } from './scenarios/scale-memory.ts'
import { SERVE_SCENARIOS } from './scenarios/serve-catalogue.ts'

export const CATALOGUE: readonly Scenario[] = [
  ...SERVE_SCENARIOS,
  MIRROR_IDLE,
  MIRROR_IDLE_TLS,
  MIRROR_PACED,
  MIRROR_UNTHROTTLED,
  MIRROR_STEADY,
  MIRROR_SWITCHOVER,
  MIRROR_HANG,
  MIRROR_OUTAGE,
  SCALE_MEMORY,
  SCALE_BITMAP,
  SCALE_DISKS,
]
