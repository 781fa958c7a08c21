/** Every scenario, in the order in which they run. */
import type { Scenario } from '../scenario.ts'
import { boot } from './boot.ts'
import { diskPaths } from './disk-path.ts'
import { kills } from './kill.ts'
import { longCut, shortCut } from './link.ts'
import { migrate, migratePv, migrateTrim, migrateTwoDisks } from './migrate.ts'
import { cancel, destroyed, failingAdd, givenAway, interrupt } from './refused.ts'
import { stockMigrate } from './stock-migrate.ts'

export const SCENARIOS: readonly Scenario[] = [
  boot,
  stockMigrate,
  migrate,
  migrateTwoDisks,
  migrateTrim,
  cancel,
  interrupt,
  failingAdd,
  destroyed,
  givenAway,
  shortCut,
  longCut,
  ...kills,
  ...diskPaths,
  migratePv,
]
