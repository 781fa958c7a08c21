/** Disks at the destination that cannot take over: the migration fails, the guest does not. */
import { half, halfFailing, makeDisk, makeFile, over, part, setTable } from '../disks.ts'
import type { Host } from '../host.ts'
import { AT_SOURCE, GUEST, RunningMigration, setPlaces, startGuest } from '../migration.ts'
import { expectOneOwner } from '../outcome.ts'
import type { Scenario } from '../scenario.ts'

const DISK = `${GUEST}-0`
/** The device that it stands for on either host. */
const DEVICE = `local-${DISK}`
/** A part of the second disk that no guest has. */
const SPARE = 4
const SMALL = '/lab/small'

/** `spoil` does something to the disk at the destination, and `mend` undoes it. */
function badTarget(
  name: string,
  sentence: string,
  words: RegExp,
  spoil: (b: Host) => Promise<unknown>,
  mend: (b: Host) => Promise<unknown>,
): Scenario {
  return {
    name,
    sentence,
    isCore: false,
    run: async lab => {
      const { a, b, say } = lab
      const guest = await startGuest(lab)
      await spoil(b)
      const migration = new RunningMigration(a, b)
      await migration.expectExit(AT_SOURCE)
      const { error } = migration.status ?? {}
      say(`it says: ${error}`)
      if (!words.test(error ?? '')) throw new Error(`that does not say ${words}: ${error}`)
      await mend(b)
      return await expectOneOwner(lab, guest, a)
    },
  }
}

export const badTargets: readonly Scenario[] = [
  badTarget(
    'disk-too-small',
    'a disk that is too small at the destination is refused before anything is copied',
    /too small at the destination/,
    b => setTable(b, DEVICE, half(0)),
    b => setTable(b, DEVICE, over(part(0))),
  ),
  badTarget(
    'disk-in-use',
    'a disk that something uses at the destination is refused, with what uses it',
    /in use at the destination by \/dev\/dm-/,
    b => b.run(`dmsetup create user --table '${over(`/dev/mapper/${DEVICE} 0`)}'`),
    b => b.run('dmsetup remove user'),
  ),
  badTarget(
    'disk-read-only',
    'a disk that is read-only at the destination is refused before anything is copied',
    /read-only at the destination/,
    b => b.run(`blockdev --setro /dev/mapper/${DEVICE}`),
    b => b.run(`blockdev --setrw /dev/mapper/${DEVICE}`),
  ),
  badTarget(
    'disk-failing',
    'a disk that fails at the destination in mid-copy ends the migration at the source',
    /./,
    b => setTable(b, DEVICE, halfFailing(0)),
    b => setTable(b, DEVICE, over(part(0))),
  ),
  badTarget(
    'disk-full',
    'a sparse file that cannot grow at the destination ends the migration at the source',
    /./,
    async b => {
      const device = await makeDisk(b, 'small', SPARE)
      await setTable(b, 'small', half(SPARE))
      await b.run(`mkfs.ext4 -q ${device} && mkdir -p ${SMALL} && mount ${device} ${SMALL}`)
      await setPlaces(b, { [DISK]: await makeFile(b, `small/${DEVICE}`) })
    },
    b => b.run(`umount ${SMALL} && dmsetup remove small`),
  ),
]
