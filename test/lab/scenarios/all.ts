/** Every scenario, in the order in which they run. */
import type { Scenario } from '../scenario.ts'
import { boot } from './boot.ts'
import { stockMigrate } from './stock-migrate.ts'

export const SCENARIOS: readonly Scenario[] = [boot, stockMigrate]
