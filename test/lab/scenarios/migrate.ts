/** Whole migrations that succeed: the guest moves with its disks, and nothing is lost or left. */
import { Beats } from '../beats.ts'
import { now, seconds } from '../clock.ts'
import { expectNoLogs, expectNothingLeft, expectOwner, whereRuns } from '../left-over.ts'
import {
  figuresOf,
  GUEST,
  MOMENTS,
  type PreparedGuest,
  RunningMigration,
  startGuest,
} from '../migration.ts'
import { expectOneOwner } from '../outcome.ts'
import type { Figures, Lab, Scenario } from '../scenario.ts'

/** Migrates a writing guest and checks all that should hold afterwards. */
async function migrateOnce(
  lab: Lab,
  options: PreparedGuest,
  more: { readonly words?: string; readonly midway?: () => Promise<void> } = {},
): Promise<Figures> {
  const { a, b } = lab
  const guest = await startGuest(lab, options)
  const start = now()
  const migration = new RunningMigration(a, b, more.words)
  await migration.reach('memory', MOMENTS['memory-begins'])
  await more.midway?.()
  lab.say(`the disks are in step after ${seconds(now() - start)}`)
  const beats = await Beats.follow(guest, [a, b])
  await migration.expectExit(0)
  const took = now() - start
  guest.host = await whereRuns(GUEST, [a, b])
  if (guest.host !== b) throw new Error('the migration says that it succeeded, the guest stayed')
  lab.say('the guest runs on b')
  await guest.expectWriting()
  const silence = beats.longestSilence()
  await beats.close()
  const { acknowledged } = await guest.expectIntact()
  const disks = Array.from({ length: options.disks ?? 1 }, (_unused, i) => `${GUEST}-${i}`)
  await expectOwner(b, a, disks)
  await expectNothingLeft([a, b])
  await expectNoLogs(a)
  const downtime = seconds(silence.ms)
  return { took: seconds(took), downtime, ...figuresOf(migration.status), acknowledged }
}

export const migrate: Scenario = {
  name: 'migrate',
  sentence: 'a writing PVH guest moves with its disk: every write is there, nothing is left behind',
  isCore: true,
  run: lab => migrateOnce(lab, {}),
}

export const migrateTwoDisks: Scenario = {
  name: 'migrate-two-disks',
  sentence: 'a guest that flushes moves with two disks, which are cut at one instant',
  isCore: false,
  run: lab => migrateOnce(lab, { disks: 2, load: 'flush' }),
}

export const migrateTrim: Scenario = {
  name: 'migrate-trim',
  sentence: 'a guest that trims moves with its disk',
  isCore: false,
  run: lab => migrateOnce(lab, { load: 'trim' }),
}

export const migratePv: Scenario = {
  name: 'migrate-pv',
  sentence: 'a PV guest moves with its disk, under the older hypervisor',
  isCore: false,
  hypervisor: 'pv',
  run: lab => migrateOnce(lab, { type: 'pv' }),
}

export const migrateFile: Scenario = {
  name: 'migrate-file',
  sentence: 'a guest whose disk is a file moves to a sparse file, both under loop devices',
  isCore: false,
  run: lab => migrateOnce(lab, { places: 'files' }),
}

export const migrateTunnel: Scenario = {
  name: 'migrate-tunnel',
  sentence: 'a guest moves through ssh alone: no other connection is between the hosts',
  isCore: false,
  run: lab =>
    migrateOnce(
      lab,
      {},
      {
        words: '--tunnel',
        midway: async () => {
          const connections = await lab.a.run(
            "ss -Htn dst 10.9.0.2 '! ( dport = :22 or sport = :22 )'",
          )
          if (connections.trim() !== '') throw new Error(`beside ssh there is:\n${connections}`)
        },
      },
    ),
}

export const thereAndBack: Scenario = {
  name: 'there-and-back',
  sentence:
    'a guest moves to b and, once its old copy is released, back to a, and keeps all writes',
  isCore: false,
  run: async lab => {
    const { a, b } = lab
    const guest = await startGuest(lab)
    await new RunningMigration(a, b).expectExit(0)
    const { acknowledged: there } = await expectOneOwner(lab, guest, b)
    await a.run(`blkferry release ${GUEST}-0`)
    await new RunningMigration(b, a).expectExit(0)
    return { there: there ?? '', ...(await expectOneOwner(lab, guest, a)) }
  },
}
