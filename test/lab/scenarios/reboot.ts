/** A host that loses its power in mid-session: afterwards one host owns, and the guest starts. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { seconds } from '../clock.ts'
import type { Guest } from '../guest.ts'
import type { Host } from '../host.ts'
import { LAB } from '../layout.ts'
import { expectNothingLeft, expectOwner } from '../left-over.ts'
import { addDisks, GUEST, migrateUntil } from '../migration.ts'
import { expectOneOwner } from '../outcome.ts'
import type { Figures, Lab, Scenario } from '../scenario.ts'

const DISK = `${GUEST}-0`
const CHECK_MS = 300_000
const CREATE = { timeoutMs: 120_000 }

/** Off and on again, with the disk where it was, as a volume manager would have it. */
async function powerCycleB({ hosts, b, say }: Lab): Promise<void> {
  const start = performance.now()
  await hosts.powerCycleB()
  say(`b is up again after ${seconds(performance.now() - start)}`)
  await addDisks(b, [DISK])
  await b.run('blkferry status')
}

/** Throws unless the disk has the first `acknowledged` writes of a guest that has ended. */
async function expectWrites(host: Host, acknowledged: number): Promise<Figures> {
  await host.write('/lab/check-disk.mjs', readFileSync(join(LAB, 'check-disk.mjs'), 'utf8'))
  const words = `node /lab/check-disk.mjs /dev/mapper/local-${DISK} ${acknowledged}`
  const answer = await host.run(words, { timeoutMs: CHECK_MS })
  const { bad, blocks, firstBad, last } = JSON.parse(answer) as {
    readonly bad: number
    readonly blocks: number
    readonly firstBad: string
    readonly last: number
  }
  if (bad > 0) throw new Error(`${bad} of ${blocks} blocks are wrong, as ${firstBad}`)
  return { acknowledged, 'last write': last }
}

/**
 * The guest's host forgets what a virtual disk has not been told to keep, like any: its writes go
 * in place once everything that they are to replace is safe.
 */
async function settle(guest: Guest): Promise<number> {
  await guest.host.run('sync /dev/vdb')
  return await guest.acknowledged()
}

export const rebootSource: Scenario = {
  name: 'reboot-source',
  sentence: 'a source that loses its power in mid-copy still owns, and has every write',
  isCore: false,
  run: async lab => {
    const { a, b } = lab
    const { guest, migration } = await migrateUntil(lab, 'copying', { host: b })
    const acknowledged = await settle(guest)
    await powerCycleB(lab)
    // Its command ran on the host that is gone.
    const exit = await migration.end()
    if (exit === 0) throw new Error('the migration says that it succeeded')
    await expectOwner(b, a, [DISK])
    const figures = await expectWrites(b, acknowledged)
    await b.run(`xl create -q ${guest.configPath}`, CREATE)
    await expectNothingLeft([a, b])
    return figures
  },
}

export const rebootDestination: Scenario = {
  name: 'reboot-destination',
  sentence: 'when the destination loses its power in mid-copy the guest goes on at the source',
  isCore: false,
  run: async lab => {
    const { a } = lab
    const { guest, migration } = await migrateUntil(lab, 'copying')
    await powerCycleB(lab)
    const exit = await migration.end()
    if (exit === 0) throw new Error('the migration says that it succeeded')
    return { exit, ...(await expectOneOwner(lab, guest, a)) }
  },
}

export const rebootOwner: Scenario = {
  name: 'reboot-owner',
  sentence: 'a destination that loses its power right after the migration owns, with every write',
  isCore: false,
  run: async lab => {
    const { a, b } = lab
    const { guest, migration } = await migrateUntil(lab, 'switchover')
    await migration.expectExit(0)
    guest.host = b
    const acknowledged = await settle(guest)
    await powerCycleB(lab)
    await expectOwner(b, a, [DISK])
    const figures = await expectWrites(b, acknowledged)
    const attempt = await a.attempt(`xl create -q ${guest.configPath}`, CREATE)
    if (attempt.exitCode === 0) throw new Error('a started the guest on its old disk')
    const configuration = await a.run(`cat ${guest.configPath}`)
    await b.write(guest.configPath, configuration)
    await b.run(`xl create -q ${guest.configPath}`, CREATE)
    await expectNothingLeft([a, b])
    return figures
  },
}
