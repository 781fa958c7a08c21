import { seconds, sleep } from '../clock.ts'
import { type Moment, migrateUntil } from '../migration.ts'
import { expectOneOwner } from '../outcome.ts'
import type { Scenario } from '../scenario.ts'

/** Shorter than any connection's own patience. */
const SHORT_MS = 5000
/** Long enough for ssh and TLS to give up. */
const LONG_MS = 60_000

export const shortCut: Scenario = {
  name: 'cable-out-shortly',
  sentence: 'a cable that is out for five seconds in mid-copy delays the migration and no more',
  isCore: false,
  run: async lab => {
    const { b } = lab
    const { guest, migration } = await migrateUntil(lab, 'copying')
    await guest.reset()
    await b.machine.setCable(false)
    await sleep(SHORT_MS)
    const stall = await guest.longestGapMs()
    await b.machine.setCable(true)
    await migration.expectExit(0)
    return { stall: seconds(stall), ...(await expectOneOwner(lab, guest, b)) }
  },
}

/** Who gives up when; `expected`: the guest's host afterwards, one of both if left out. */
function longCut(name: string, moment: Moment, what: string, expected?: 'a' | 'b'): Scenario {
  return {
    name,
    sentence: `a cable that is out for a minute ${what}`,
    isCore: false,
    run: async lab => {
      const { guest, migration } = await migrateUntil(lab, moment)
      await lab.b.machine.setCable(false)
      await sleep(LONG_MS)
      await lab.b.machine.setCable(true)
      const exitCode = await migration.end()
      const figures = await expectOneOwner(lab, guest, expected && lab[expected])
      if ((exitCode === 0) !== (figures.owner === lab.b.name)) {
        throw new Error(`exit code ${exitCode}, but the guest is on ${figures.owner}`)
      }
      return { exit: exitCode, ...figures }
    },
  }
}

export const longCuts: readonly Scenario[] = [
  longCut('cable-out-copying', 'copying', 'in mid-copy delays the migration', 'b'),
  longCut('cable-out-memory', 'memory', 'while memory moves ends it at the source', 'a'),
  longCut('cable-out-switchover', 'switchover', 'after the suspend leaves one owner'),
]
