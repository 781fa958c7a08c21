/** Whole migrations that succeed: the guest moves with its disks, and nothing is lost or left. */
import { Beats } from '../beats.ts'
import { now, seconds } from '../clock.ts'
import { expectNothingLeft, expectOwner, whereRuns } from '../left-over.ts'
import { figuresOf, GUEST, type PreparedGuest, RunningMigration, startGuest } from '../migration.ts'
import type { Figures, Lab, Scenario } from '../scenario.ts'

/** Migrates a writing guest and checks all that should hold afterwards. */
async function migrateOnce(lab: Lab, options: PreparedGuest): Promise<Figures> {
  const { a, b } = lab
  const guest = await startGuest(lab, options)
  const start = now()
  const migration = new RunningMigration(a, b)
  await migration.reach('memory', status => status.memory.state === 'moving')
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
  isCore: true,
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
