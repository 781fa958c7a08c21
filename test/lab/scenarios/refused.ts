import { sleep } from '../clock.ts'
import { expectNothingLeft } from '../left-over.ts'
import { GUEST, RunningMigration, type Status, startGuest } from '../migration.ts'
import { expectOneOwner } from '../outcome.ts'
import type { Scenario } from '../scenario.ts'

const isCopying = (status: Status): boolean =>
  status.phase === 'active' && status.disks.some(disk => disk.copiedBytes > 0)

/** Exit code of a migration that has failed or was cancelled, with the guest at the source. */
const AT_SOURCE = 5

export const cancel: Scenario = {
  name: 'cancel',
  sentence: 'a migration that is cancelled in mid-copy leaves the guest as it was',
  isCore: true,
  run: async lab => {
    const { a, b } = lab
    const guest = await startGuest(lab)
    const migration = new RunningMigration(a, b, '--bandwidth 4M')
    await migration.reach('the copy', isCopying)
    await a.run(`blkferry cancel ${GUEST}`)
    await migration.expectExit(AT_SOURCE)
    return await expectOneOwner(lab, guest, a)
  },
}

export const interrupt: Scenario = {
  name: 'interrupt',
  sentence: 'Ctrl-C while memory moves leaves the guest as it was',
  isCore: false,
  run: async lab => {
    const { a, b } = lab
    const guest = await startGuest(lab)
    const migration = new RunningMigration(a, b)
    await migration.reach('memory', status => status.memory.state === 'moving')
    await migration.interrupt()
    await migration.expectExit(AT_SOURCE)
    return await expectOneOwner(lab, guest, a)
  },
}

export const failingAdd: Scenario = {
  name: 'failing-add',
  sentence: 'when the destination cannot attach the disk, the guest goes on at the source',
  isCore: true,
  run: async lab => {
    const { a, b } = lab
    const guest = await startGuest(lab)
    const migration = new RunningMigration(a, b)
    await migration.reach('memory', status => status.memory.state === 'moving')
    // Everything else of the script stays as it is: libxl calls it once more, to remove.
    const refuse = 'echo "refused by the lab" >&2; exit 1'
    await b.run(`sed -i '2i if [ "$1" = add ]; then ${refuse}; fi' /etc/xen/scripts/block-ferry`)
    await migration.expectExit(AT_SOURCE)
    return await expectOneOwner(lab, guest, a)
  },
}

export const destroyed: Scenario = {
  name: 'destroyed',
  sentence: 'a guest that is destroyed in mid-copy is gone, and so is its migration',
  isCore: true,
  run: async lab => {
    const { a, b } = lab
    const guest = await startGuest(lab)
    const migration = new RunningMigration(a, b, '--bandwidth 4M')
    await migration.reach('the copy', isCopying)
    await guest.destroy()
    const exitCode = await migration.end()
    if (exitCode === 0) throw new Error('a migration without a guest ended with 0')
    await expectNothingLeft([a, b])
    const domains = await a.run(`xl list; ls /dev/mapper`)
    if (domains.includes(`${GUEST}\n`)) throw new Error(`still there:\n${domains}`)
    await a.run(`xl create -q ${guest.configPath}`, { timeoutMs: 120_000 })
    return { exit: exitCode }
  },
}

export const givenAway: Scenario = {
  name: 'given-away',
  sentence: 'after a migration the old host refuses to start the guest, until it moves back',
  isCore: true,
  run: async lab => {
    const { a, b, say } = lab
    const guest = await startGuest(lab)
    await new RunningMigration(a, b).expectExit(0)
    await expectOneOwner(lab, guest, b)
    const attempt = await a.attempt(`xl create -q ${guest.configPath}`, { timeoutMs: 120_000 })
    if (attempt.exitCode === 0) throw new Error('xl create started the guest on the old disk')
    say(`refused: ${attempt.stderr.trim().split('\n').at(-1)}`)
    await a.run(`blkferry release ${GUEST}-0`)
    await sleep(1000)
    await new RunningMigration(b, a).expectExit(0)
    return await expectOneOwner(lab, guest, a)
  },
}
