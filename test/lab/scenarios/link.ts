import { seconds, sleep } from '../clock.ts'
import { migrateUntil } from '../migration.ts'
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

export const longCut: Scenario = {
  name: 'cable-out-long',
  sentence: 'a cable that is out for a minute while memory moves ends the migration at the source',
  isCore: false,
  run: async lab => {
    const { a, b } = lab
    const { guest, migration } = await migrateUntil(lab, 'memory')
    await b.machine.setCable(false)
    await sleep(LONG_MS)
    await b.machine.setCable(true)
    const exitCode = await migration.end()
    return { exit: exitCode, ...(await expectOneOwner(lab, guest, a)) }
  },
}
