/** The end of a session at the source, when a step of it fails at first. */
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { HostJournal } from '../../src/daemon/host-journal.ts'
import type { Peer } from '../../src/daemon/peer.ts'
import { SessionProgress } from '../../src/daemon/session-progress.ts'
import { SessionRecords } from '../../src/daemon/session-record.ts'
import type { EndingDisk } from '../../src/daemon/source-disk.ts'
import { SourceEnd } from '../../src/daemon/source-end.ts'
import { openJournal } from '../../src/migration/journal-file.ts'
import { temporary } from '../support/temporary.ts'
import { StubHost } from './stub-host.ts'

const SESSION = 's1'
const DISK = 'web1'

test('a fence that fails after the hand-over is tried again before the path ends', async () => {
  await using folder = await temporary()
  const host = new StubHost(folder.file('a'), 'a')
  const journal = new HostJournal(() => openJournal(folder.file('state')))
  const records = new SessionRecords(folder.file('records'))
  const context = { host, journal, records, log: pino({ level: 'silent' }) }
  const change = { disk: DISK, session: SESSION }
  journal.apply('claim', [{ disk: DISK }])
  journal.apply('seal', [change])
  journal.apply('give-away', [change])
  const did: string[] = []
  const disk = {
    vdev: 'xvda',
    disk: DISK,
    size: 512,
    epoch: 1,
    unseal: async () => void did.push('unseal'),
    discard: async () => {
      did.push('discard')
      if (did.length === 1) throw new Error('device-mapper did not answer')
    },
    stop: async () => void did.push('stop'),
    status: () => {
      throw new Error('not asked')
    },
  } satisfies EndingDisk
  const about = { session: SESSION, side: 'source', domain: 'web1', peer: 'b' } as const
  const progress = new SessionProgress(about, 'switchover')
  const peer = { host: 'b', call: async () => ({ word: 'accepted' }) } as unknown as Peer
  const disks = [disk]
  const end = new SourceEnd(context, progress, {
    session: SESSION,
    guest: { domid: 1, domain: 'web1', uuid: undefined, disks },
    peer,
  })
  await end.run(disks, undefined, true)
  expect(did).toEqual(['discard', 'discard', 'stop'])
  expect(progress.outcome).toBe('destination-owns')
  journal.close()
})
