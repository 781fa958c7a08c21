/** Every scenario, in the order in which they run. */
import type { Scenario } from '../scenario.ts'
import { badTargets } from './bad-target.ts'
import { replayedKey, twoAtOnce, wrongKey } from './beside.ts'
import { boot } from './boot.ts'
import { diskPaths } from './disk-path.ts'
import { destroyed, guestPowersOff, guestReboots } from './guest-ends.ts'
import { kills } from './kill.ts'
import { longCuts, shortCut } from './link.ts'
import {
  migrate,
  migrateFile,
  migratePv,
  migrateTrim,
  migrateTunnel,
  migrateTwoDisks,
  thereAndBack,
} from './migrate.ts'
import { plainGuests } from './plain.ts'
import { rebootDestination, rebootOwner, rebootSource } from './reboot.ts'
import { cancel, failingAdd, givenAway, interrupt } from './refused.ts'
import { stockMigrate } from './stock-migrate.ts'

export const SCENARIOS: readonly Scenario[] = [
  boot,
  stockMigrate,
  migrate,
  migrateTwoDisks,
  migrateTrim,
  migrateFile,
  migrateTunnel,
  thereAndBack,
  ...plainGuests,
  cancel,
  interrupt,
  failingAdd,
  destroyed,
  guestReboots,
  guestPowersOff,
  givenAway,
  twoAtOnce,
  wrongKey,
  replayedKey,
  ...badTargets,
  shortCut,
  ...longCuts,
  rebootSource,
  rebootDestination,
  rebootOwner,
  ...kills,
  ...diskPaths,
  migratePv,
]
