/** Guests that were never prepared: by the stock script on a device-mapper device, as of LVM. */
import { until } from '../clock.ts'
import { makeDisk, setTable } from '../disks.ts'
import { Guest } from '../guest.ts'
import type { Host } from '../host.ts'
import { expectNothingLeft, expectOwner, whereRuns } from '../left-over.ts'
import {
  AT_SOURCE,
  figuresOf,
  GUEST,
  MOMENTS,
  RunningMigration,
  refuseAdds,
  SLOW_COPY,
} from '../migration.ts'
import type { Figures, Lab, Scenario } from '../scenario.ts'

const DEVICE = `plain-${GUEST}`
const DISK = `/dev/mapper/${DEVICE}`
const PAUSE_US = 50_000
const GONE_MS = 60_000
const TABLE_MS = 30_000

interface Plain {
  readonly guest: Guest
  /** The device's table on host a, before anything was done to it. */
  readonly table: string
}

/** A device of the same name on both hosts, which is in no table of disks, and a guest on a. */
async function startPlainGuest(lab: Lab): Promise<Plain> {
  await Promise.all([lab.a, lab.b].map(host => makeDisk(host, DEVICE, 0)))
  const table = await tableOn(lab.a)
  const disks = [`format=raw,access=rw,target=${DISK}`]
  const guest = await Guest.create(lab.a, { name: GUEST, disks })
  await guest.load('steady', PAUSE_US)
  lab.say('the guest writes, by the stock script')
  return { guest, table }
}

const tableOn = async (host: Host): Promise<string> =>
  (await host.run(`dmsetup table '${DEVICE}'`)).trim()

/** Undoing may go on for a while after the command has ended. */
async function expectTable(host: Host, table: string): Promise<void> {
  let found = ''
  try {
    await until(`table of ${DEVICE} on ${host.name}`, TABLE_MS, async () => {
      found = await tableOn(host)
      return found === table || undefined
    })
  } catch (error) {
    throw new Error(`${DEVICE} on ${host.name} has "${found}", not "${table}"`, { cause: error })
  }
}

async function expectAt(lab: Lab, guest: Guest, host: Host): Promise<number> {
  const { a, b } = lab
  guest.host = await whereRuns(GUEST, [a, b])
  if (guest.host !== host) throw new Error(`the guest is on ${guest.host.name}, not ${host.name}`)
  await guest.expectWriting()
  return (await guest.expectIntact()).acknowledged
}

/** Nothing can be read of the device, so that no guest can start on it. */
async function expectFailing(host: Host): Promise<void> {
  const table = await tableOn(host)
  if (!/^0 \d+ error\s*$/.test(table)) throw new Error(`${DEVICE} on ${host.name} has "${table}"`)
  const read = `dd if='${DISK}' of=/dev/null bs=4096 count=1 iflag=direct`
  if ((await host.attempt(read)).exitCode === 0) throw new Error(`${DISK} can still be read`)
}

const migratePlain: Scenario = {
  name: 'migrate-plain',
  sentence: 'a guest on a plain device, by the stock script, moves to b and, released, back to a',
  isCore: false,
  run: async lab => {
    const { a, b } = lab
    const { guest, table } = await startPlainGuest(lab)
    const there = new RunningMigration(a, b)
    await there.expectExit(0)
    await expectAt(lab, guest, b)
    lab.say('the guest runs on b, by blkferry’s script')
    await expectOwner(b, a, [DISK])
    await expectFailing(a)
    await a.run(`blkferry release '${DISK}'`)
    await expectTable(a, table)
    await expectNothingLeft([a, b])
    await new RunningMigration(b, a).expectExit(0)
    const acknowledged = await expectAt(lab, guest, a)
    await expectOwner(a, b, [DISK])
    await expectNothingLeft([a, b])
    return { ...figuresOf(there.status), acknowledged }
  },
}

/** The guest goes on at the source, on its own device, as if nothing had been. */
async function expectUntouched(lab: Lab, guest: Guest, table: string): Promise<Figures> {
  const { a, b } = lab
  await expectTable(a, table)
  await expectNothingLeft([a, b])
  await expectOwner(a, b, [DISK])
  return { acknowledged: await expectAt(lab, guest, a) }
}

/** A guest on a plain device on a, and its slow migration in mid-copy. */
async function untilCopying(lab: Lab): Promise<Plain & { readonly migration: RunningMigration }> {
  const plain = await startPlainGuest(lab)
  const migration = new RunningMigration(lab.a, lab.b, SLOW_COPY)
  await migration.reach('the copy', MOMENTS.copying)
  return { ...plain, migration }
}

const plainCancelled: Scenario = {
  name: 'plain-cancelled',
  sentence: 'a cancelled migration leaves a plain device and its guest as they were',
  isCore: false,
  run: async lab => {
    const { a } = lab
    const { guest, table, migration } = await untilCopying(lab)
    await a.run(`blkferry cancel ${GUEST}`)
    await migration.expectExit(AT_SOURCE)
    return await expectUntouched(lab, guest, table)
  },
}

const plainFails: Scenario = {
  name: 'plain-failing-add',
  sentence: 'a guest on a plain device goes on there when the destination cannot add its disk',
  isCore: false,
  run: async lab => {
    const { a, b } = lab
    const { guest, table } = await startPlainGuest(lab)
    const migration = new RunningMigration(a, b)
    await migration.reach('memory', MOMENTS['memory-begins'])
    await refuseAdds(b)
    await migration.expectExit(AT_SOURCE)
    return await expectUntouched(lab, guest, table)
  },
}

const plainDestroyed: Scenario = {
  name: 'plain-destroyed',
  sentence: 'a guest on a plain device that is destroyed in mid-copy takes its migration with it',
  isCore: false,
  run: async lab => {
    const { a, b } = lab
    const { guest, table, migration } = await untilCopying(lab)
    await guest.destroy()
    const exitCode = await migration.end()
    if (exitCode === 0) throw new Error('a migration without a guest ended with 0')
    await until(`end of ${GUEST}`, GONE_MS, async () => {
      const { exitCode: found } = await a.attempt(`xl domid ${GUEST}`)
      return found !== 0 || undefined
    })
    await expectTable(a, table)
    await expectNothingLeft([a, b])
    await a.run(`xl create -q ${guest.configPath}`, { timeoutMs: 120_000 })
    return { exit: exitCode }
  },
}

const plainRefreshed: Scenario = {
  name: 'plain-refreshed',
  sentence: 'a plain device that its maker refreshes in mid-copy ends the migration at the source',
  isCore: false,
  run: async lab => {
    const { a } = lab
    const { guest, table, migration } = await untilCopying(lab)
    // As lvchange --refresh does it: from here on no write of the guest passes the proxy.
    await setTable(a, DEVICE, table)
    await migration.expectExit(AT_SOURCE)
    return await expectUntouched(lab, guest, table)
  },
}

export const plainGuests: readonly Scenario[] = [
  migratePlain,
  plainCancelled,
  plainFails,
  plainDestroyed,
  plainRefreshed,
]
