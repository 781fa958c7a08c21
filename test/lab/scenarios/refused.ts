/** Migrations that end at the source, and what the guest's old host thinks of it afterwards. */
import { sleep } from '../clock.ts'
import {
  AT_SOURCE,
  GUEST,
  migrateUntil,
  RunningMigration,
  refuseAdds,
  startGuest,
} from '../migration.ts'
import { expectOneOwner } from '../outcome.ts'
import type { Scenario } from '../scenario.ts'

const CREATE = { timeoutMs: 120_000 }

export const cancel: Scenario = {
  name: 'cancel',
  sentence: 'a migration that is cancelled in mid-copy leaves the guest as it was',
  isCore: true,
  run: async lab => {
    const { guest, migration } = await migrateUntil(lab, 'copying')
    await lab.a.run(`blkferry cancel ${GUEST}`)
    await migration.expectExit(AT_SOURCE)
    return await expectOneOwner(lab, guest, lab.a)
  },
}

export const interrupt: Scenario = {
  name: 'interrupt',
  sentence: 'Ctrl-C while memory moves leaves the guest as it was',
  isCore: false,
  run: async lab => {
    const { guest, migration } = await migrateUntil(lab, 'memory-begins')
    await migration.interrupt()
    await migration.expectExit(AT_SOURCE)
    return await expectOneOwner(lab, guest, lab.a)
  },
}

export const failingAdd: Scenario = {
  name: 'failing-add',
  sentence: 'when the destination cannot attach the disk, the guest goes on at the source',
  isCore: false,
  run: async lab => {
    const { guest, migration } = await migrateUntil(lab, 'memory-begins')
    await refuseAdds(lab.b)
    await migration.expectExit(AT_SOURCE)
    return await expectOneOwner(lab, guest, lab.a)
  },
}

export const givenAway: Scenario = {
  name: 'given-away',
  sentence: 'after a migration the old host refuses to start the guest, until it moves back',
  isCore: false,
  run: async lab => {
    const { a, b, say } = lab
    const guest = await startGuest(lab)
    await new RunningMigration(a, b).expectExit(0)
    await expectOneOwner(lab, guest, b)
    const attempt = await a.attempt(`xl create -q ${guest.configPath}`, CREATE)
    if (attempt.exitCode === 0) throw new Error('xl create started the guest on the old disk')
    say(`refused: ${attempt.stderr.trim().split('\n').at(-1)}`)
    await a.run(`blkferry release ${GUEST}-0`)
    await sleep(1000)
    await new RunningMigration(b, a).expectExit(0)
    return await expectOneOwner(lab, guest, a)
  },
}
