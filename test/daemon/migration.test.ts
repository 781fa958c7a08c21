/** Whole migrations between two daemons, with a stub of xl: who owns, where the guest is. */
import { expect, test } from 'vitest'
import { DISK, SOON, TwoHosts } from './two-hosts.ts'

const MS_MAX = 60_000

test(
  'a guest moves with every write that it was told is done',
  async () => {
    await using hosts = await TwoHosts.start()
    const { session } = await hosts.migrate()
    const status = await hosts.ended(session)
    expect(status).toMatchObject({ phase: 'completed', outcome: 'destination-owns', error: null })
    await hosts.writer.stop()
    expect(await hosts.writer.missingIn(hosts.destination.diskFile(DISK))).toEqual([])
    expect([hosts.writer.errors, hosts.writer.writes > 50]).toEqual([0, true])
    expect(await hosts.outcome(session)).toEqual({
      source: 'destination-owns',
      destination: 'destination-owns',
      roles: ['given-away!', 'owner'],
      domains: ['', 'web1 running'],
    })
    expect(status.phases.map(({ phase }) => phase)).toEqual([
      'setup',
      'active',
      'ready',
      'switchover',
      'completed',
    ])
    expect(status.downtimeMs).toBeGreaterThan(status.sealMs ?? Number.POSITIVE_INFINITY)
  },
  MS_MAX,
)

/** The guest is where it was, as if nothing had happened. */
const BACK = {
  source: 'source-owns',
  destination: 'source-owns',
  roles: ['owner', 'none!'],
  domains: ['web1 running', ''],
}

async function expectAtSource(hosts: TwoHosts): Promise<void> {
  const before = hosts.writer.writes
  await expect.poll(() => hosts.writer.writes, { timeout: 10_000 }).toBeGreaterThan(before + 5)
  await hosts.writer.stop()
  expect(hosts.writer.errors).toBe(0)
  expect(await hosts.writer.missingIn(hosts.source.diskFile(DISK))).toEqual([])
}

test.each(['fail-create', 'fail-unpause'])(
  'a guest goes on at the source if the destination’s xl has a %s',
  async fault => {
    await using hosts = await TwoHosts.start()
    hosts.destination.setFault(fault)
    const { session } = await hosts.migrate()
    const status = await hosts.ended(session)
    expect(status.phase).toBe('failed')
    expect(status.error).not.toBeNull()
    expect(await hosts.outcome(session)).toEqual(BACK)
    await expectAtSource(hosts)
  },
  MS_MAX,
)

test(
  'an xl that is killed after it had permission has the destination own',
  async () => {
    await using hosts = await TwoHosts.start()
    hosts.destination.setFault('die-at-go')
    const { session } = await hosts.migrate()
    expect(await hosts.outcome(session)).toEqual({
      source: 'destination-owns',
      destination: 'destination-owns',
      roles: ['given-away!', 'owner'],
      domains: ['', 'web1 running'],
    })
    await hosts.writer.stop()
    expect(await hosts.writer.missingIn(hosts.destination.diskFile(DISK))).toEqual([])
  },
  MS_MAX,
)

test(
  'a cancel while memory moves ends it at once, and the guest goes on',
  async () => {
    await using hosts = await TwoHosts.start()
    hosts.source.setFault('slow-memory')
    const { session } = await hosts.migrate()
    await hosts.until(session, ({ memory }) => memory.state === 'moving' && memory.sentBytes > 0)
    await hosts.client(hosts.source).call('session-cancel', { session }, SOON)
    expect(await hosts.ended(session)).toMatchObject({ phase: 'cancelled', error: 'cancelled' })
    expect(await hosts.outcome(session)).toEqual(BACK)
    await expectAtSource(hosts)
  },
  MS_MAX,
)

test(
  'a relay that is killed while memory moves ends it, and the guest goes on',
  async () => {
    await using hosts = await TwoHosts.start()
    hosts.source.setFault('slow-memory')
    const { session } = await hosts.migrate()
    await hosts.until(session, ({ memory }) => memory.state === 'moving' && memory.sentBytes > 0)
    hosts.killRelay(session)
    expect(await hosts.ended(session)).toMatchObject({ phase: 'failed' })
    expect(await hosts.outcome(session)).toEqual(BACK)
    await expectAtSource(hosts)
  },
  MS_MAX,
)

test(
  'an xl migrate by hand during a session gets no disk, and the session goes on',
  async () => {
    await using hosts = await TwoHosts.start()
    hosts.source.setFault('slow-memory')
    const { session } = await hosts.migrate()
    await hosts.until(session, ({ phase }) => phase === 'active' || phase === 'ready')
    const path = 'backend/vbd/9/51712'
    const { xenstore } = hosts.destination
    await xenstore.write({ '/local/domain/9/name': 'web1--incoming' })
    await xenstore.write({ [`${path}/params`]: DISK, [`${path}/dev`]: 'xvda' })
    const add = hosts.client(hosts.destination).call('hotplug-add', { path }, SOON)
    await expect(add).rejects.toThrow('not by any other xl')
    expect(await hosts.ended(session)).toMatchObject({ phase: 'completed', error: null })
  },
  MS_MAX,
)

test(
  'a guest has one migration at a time, and one disk is refused on a host that gave it away',
  async () => {
    await using hosts = await TwoHosts.start()
    const { session } = await hosts.migrate()
    await expect(hosts.migrate()).rejects.toThrow(`is being moved by session ${session}`)
    await hosts.ended(session)
    const path = 'backend/vbd/7/51712'
    await hosts.source.xenstore.write({ [`${path}/params`]: DISK, [`${path}/dev`]: 'xvda' })
    const client = hosts.client(hosts.source)
    const refused = client.call('hotplug-add', { path }, SOON)
    await expect(refused).rejects.toThrow('its guest runs on the other host')
    expect(await hosts.source.xenstore.read(`${path}/hotplug-status`)).toBe('error')
    await client.call('disk-release', { disk: DISK }, SOON)
    const second = client.call('hotplug-add', { path }, SOON)
    await expect(second).rejects.toThrow(`blkferry claim ${DISK}`)
    await client.call('disk-claim', { disk: DISK }, SOON)
    expect(await client.call('hotplug-add', { path }, SOON)).toEqual({
      device: hosts.source.diskFile(DISK),
    })
  },
  MS_MAX,
)
