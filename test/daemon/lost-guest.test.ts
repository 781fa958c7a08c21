/** Guests and disks that are not there any more when a session comes to its end. */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { HostJournal } from '../../src/daemon/host-journal.ts'
import { type SessionRecord, SessionRecords } from '../../src/daemon/session-record.ts'
import type { Side } from '../../src/daemon/session-status.ts'
import { openJournal } from '../../src/migration/journal-file.ts'
import type { RoleVerb } from '../../src/migration/roles.ts'
import type { StubHost } from './stub-host.ts'
import { DISK, SOON, TwoHosts } from './two-hosts.ts'

const MS_MAX = 60_000
const SESSION = 's1'
const ADVICE = 'b owns the disks of web1, which does not run there: start it on b with xl create'

test(
  'a guest that crashes before it is known to run is to be started at the destination',
  async () => {
    await using hosts = await TwoHosts.start()
    hosts.destination.setFault('crash-at-go')
    const { session } = await hosts.migrate()
    for (const host of [hosts.source, hosts.destination]) {
      const status = await hosts.ended(session, host)
      expect(status).toMatchObject({ phase: 'completed', outcome: 'destination-owns' })
      expect(status.advice).toBe(ADVICE)
      const { sessions } = await hosts.client(host).call('session-list', {}, SOON)
      expect(sessions.map(({ error }) => error)).toEqual([ADVICE])
    }
    expect(await hosts.outcome(session)).toMatchObject({
      roles: ['given-away!', 'owner'],
      domains: ['', ''],
    })
  },
  MS_MAX,
)

/** As a daemon finds it after a reboot: the steps so far, and a session that was not finished. */
function leaveBehind(
  host: StubHost,
  side: Side,
  steps: readonly RoleVerb[],
  domid: number,
  more: Partial<SessionRecord> = {},
): void {
  const state = join(host.folder, 'state')
  const journal = new HostJournal(() => openJournal(state))
  for (const step of steps) {
    const epoch = step === 'admit' ? { epoch: 1 } : {}
    journal.apply(step, [{ disk: DISK, session: SESSION, ...epoch }])
  }
  journal.close()
  new SessionRecords(join(state, 'sessions')).write({
    session: SESSION,
    side,
    domain: 'web1',
    domid,
    peer: side === 'source' ? 'b' : 'a',
    ssh: { environment: host.environment, options: [] },
    disks: [{ vdev: 'xvda', disk: DISK, size: 4096, epoch: 1 }],
    processes: [],
    ...more,
  })
}

const OTHER = { domid: 1, name: 'other', state: 'paused', disks: [] } as const

test('after a reboot of the destination no other guest is taken for its own', async () => {
  await using hosts = await TwoHosts.start()
  const { destination } = hosts
  await hosts.restartDaemon(destination, () => {
    leaveBehind(destination, 'destination', ['admit', 'accept'], OTHER.domid)
    destination.writeDomain(OTHER)
  })
  const status = await hosts.ended(SESSION, destination)
  expect(status).toMatchObject({ outcome: 'destination-owns', advice: ADVICE })
  expect(await hosts.role(destination)).toBe('owner')
  expect(destination.domains).toEqual([OTHER])
})

test('a guest whose number is another one’s name is the one that was moved', async () => {
  await using hosts = await TwoHosts.start()
  const { destination } = hosts
  const named = { domid: 5, name: '12', state: 'paused', disks: [] } as const
  const moved = { domid: 12, name: 'web1--incoming', state: 'paused', disks: [] } as const
  await hosts.restartDaemon(destination, () => {
    leaveBehind(destination, 'destination', ['admit', 'accept'], moved.domid)
    destination.writeDomain(named)
    destination.writeDomain(moved)
  })
  const status = await hosts.ended(SESSION, destination)
  expect([status.outcome, status.advice]).toEqual(['destination-owns', undefined])
  const byNumber = [...destination.domains].sort((a, b) => a.domid - b.domid)
  expect(byNumber).toEqual([named, { ...moved, name: 'web1', state: 'running' }])
})

test('after a reboot of a source that has given away nobody else’s domain ends', async () => {
  await using hosts = await TwoHosts.start()
  const { source, destination } = hosts
  await hosts.restartDaemon(destination, () =>
    leaveBehind(destination, 'destination', ['admit', 'accept'], 7),
  )
  await hosts.restartDaemon(source, () => {
    leaveBehind(source, 'source', ['seal', 'give-away'], OTHER.domid)
    source.writeDomain(OTHER)
  })
  const status = await hosts.ended(SESSION)
  expect(status).toMatchObject({ outcome: 'destination-owns', advice: ADVICE })
  expect(source.domains).toEqual([OTHER])
})

const UUID = '2d1ac0c8-6b46-4ac8-a5c9-c2b4c7d5a001'
/** Of an xl that is gone. */
const XL = { pid: process.pid, start: '1', boot: '' }

test.each([
  ['was renamed', { name: 'web2', uuid: UUID }, UUID, { name: 'web2', state: 'running' }],
  ['xl had renamed', { name: 'web1--migratedaway', uuid: UUID }, UUID, { name: 'web1' }],
  ['has no uuid', { name: 'web1--migratedaway' }, UUID, { name: 'web1', state: 'running' }],
  ['has none on record', { name: 'web1', uuid: UUID }, undefined, { state: 'running' }],
  ['is another one', { name: 'web1', uuid: 'another' }, UUID, { state: 'suspended' }],
] as const)(
  'a suspended guest that %s goes on at the source, or stays as it is if it is not ours',
  async (_name, guest, uuid, becomes) => {
    await using hosts = await TwoHosts.start()
    const { source } = hosts
    await hosts.restartDaemon(source, () => {
      leaveBehind(source, 'source', ['seal'], 1, { uuid, processes: [XL] })
      source.writeDomain({ domid: 1, state: 'suspended', disks: [], ...guest })
    })
    expect(await hosts.ended(SESSION)).toMatchObject({ outcome: 'source-owns' })
    expect(source.domains).toMatchObject([{ ...guest, ...becomes }])
  },
)

test('a guest that has moved does not stay behind under the name it was given', async () => {
  await using hosts = await TwoHosts.start()
  const { source, destination } = hosts
  await hosts.restartDaemon(destination, () =>
    leaveBehind(destination, 'destination', ['admit', 'accept'], 7),
  )
  await hosts.restartDaemon(source, () => {
    leaveBehind(source, 'source', ['seal', 'give-away'], 1, { uuid: UUID })
    source.writeDomain({ domid: 1, name: 'web2', uuid: UUID, state: 'suspended', disks: [] })
  })
  expect(await hosts.ended(SESSION)).toMatchObject({ outcome: 'destination-owns' })
  expect(source.domains).toEqual([])
})

test('a daemon that stops puts the sessions away that are over', async () => {
  await using hosts = await TwoHosts.start()
  const { source } = hosts
  await hosts.restartDaemon(source, () => leaveBehind(source, 'source', ['seal'], OTHER.domid))
  await hosts.ended(SESSION)
  await hosts.daemons.get(source)?.stop()
  expect(readdirSync(join(source.folder, 'state', 'sessions'))).toEqual([])
})

test('a session whose disk is gone since a reboot of the destination ends', async () => {
  await using hosts = await TwoHosts.start()
  const { destination } = hosts
  await hosts.restartDaemon(destination, () => {
    leaveBehind(destination, 'destination', ['admit'], OTHER.domid)
    rmSync(destination.diskFile(DISK))
  })
  const status = await hosts.ended(SESSION, destination)
  expect(status).toMatchObject({ phase: 'failed', outcome: 'source-owns' })
  expect(await hosts.role(destination)).toBe('none!')
})
