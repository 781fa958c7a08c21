/** Whole migrations of a guest that was never prepared: the stock script, on a logical volume. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Table } from '../../src/host/dm-table.ts'
import type { StubHost } from './stub-host.ts'
import { DISK, SOON, TwoHosts, VOLUME, VOLUME_DEVICE } from './two-hosts.ts'

const MS_MAX = 60_000

const start = (): Promise<TwoHosts> => TwoHosts.start([VOLUME])
const tableOf = (host: StubHost): Promise<Table> => host.mapper.table(VOLUME_DEVICE)
const kindsIn = async (host: StubHost): Promise<string[]> =>
  (await tableOf(host)).map(({ type }) => type)

/** What the receiving xl was sent. */
function receivedConfig(hosts: TwoHosts): { disks: unknown; b_info: unknown } {
  const lines = readFileSync(`${hosts.destination.folder}/xl.log`, 'utf8').split('\n')
  const line = lines.find(one => one.startsWith('config '))
  return JSON.parse(line?.slice('config '.length) ?? '')
}

test(
  'it moves, comes by our script there, and its device here stays and fails until it is released',
  async () => {
    await using hosts = await start()
    const plain = await tableOf(hosts.source)
    const { session } = await hosts.migrate()
    const status = await hosts.ended(session)
    expect(status).toMatchObject({ phase: 'completed', outcome: 'destination-owns', error: null })
    await hosts.writer.stop()
    expect(await hosts.writer.missingIn(hosts.destination.diskFile(VOLUME))).toEqual([])
    expect([hosts.writer.errors, hosts.writer.writes > 50]).toEqual([0, true])
    expect(await hosts.outcome(session)).toEqual({
      source: 'destination-owns',
      destination: 'destination-owns',
      roles: ['given-away!', 'owner'],
      domains: ['', 'web1 running'],
    })
    const raw = { backend: 'phy', format: 'raw', readwrite: 1 }
    const { disks, b_info } = receivedConfig(hosts)
    expect(disks).toEqual([{ pdev_path: VOLUME, vdev: 'xvda', ...raw, script: 'block-ferry' }])
    expect(b_info).toMatchObject({ max_memkb: 98304, cmdline: 'root="/dev/xvda"' })
    expect(hosts.destination.made.has(VOLUME)).toBe(true)
    expect(await kindsIn(hosts.source)).toEqual(['error'])
    await hosts.client(hosts.source).call('disk-release', { disk: VOLUME }, SOON)
    expect(await tableOf(hosts.source)).toEqual(plain)
    expect(await hosts.role(hosts.source)).toBe('none!')
  },
  MS_MAX,
)

test.each(['fail-create', 'fail-unpause', 'strange-config'])(
  'it goes on here, on its own device, if it fails by %s',
  async fault => {
    await using hosts = await start()
    const plain = await tableOf(hosts.source)
    const host = fault === 'strange-config' ? hosts.source : hosts.destination
    host.setFault(fault)
    const { session } = await hosts.migrate()
    const status = await hosts.ended(session)
    expect(status.phase).toBe('failed')
    const said = fault === 'strange-config' ? 'cannot be passed on exactly' : ''
    expect(status.error).toContain(said)
    expect(await hosts.outcome(session)).toEqual({
      source: 'source-owns',
      destination: 'source-owns',
      roles: ['owner', 'none!'],
      domains: ['web1 running', ''],
    })
    const before = hosts.writer.writes
    await expect.poll(() => hosts.writer.writes, { timeout: 10_000 }).toBeGreaterThan(before + 5)
    await hosts.writer.stop()
    expect(hosts.writer.errors).toBe(0)
    expect(await hosts.writer.missingIn(hosts.source.diskFile(VOLUME))).toEqual([])
    expect(await tableOf(hosts.source)).toEqual(plain)
  },
  MS_MAX,
)

test(
  'a guest with one disk of each kind moves, and only what is ours here goes away',
  async () => {
    await using hosts = await TwoHosts.start([DISK, VOLUME])
    const { session } = await hosts.migrate()
    expect(await hosts.ended(session)).toMatchObject({ phase: 'completed', error: null })
    for (const [disk, writer] of hosts.writers) {
      await writer.stop()
      expect(await writer.missingIn(hosts.destination.diskFile(disk))).toEqual([])
      expect(writer.errors).toBe(0)
    }
    const raw = { backend: 'phy', format: 'raw', readwrite: 1, script: 'block-ferry' }
    expect(receivedConfig(hosts).disks).toEqual([
      { pdev_path: DISK, vdev: 'xvda', ...raw },
      { pdev_path: VOLUME, vdev: 'xvdb', ...raw },
    ])
    expect(hosts.source.made.size).toBe(0)
    expect([...hosts.destination.made.keys()].sort()).toEqual([VOLUME, DISK])
    expect(await kindsIn(hosts.source)).toEqual(['error'])
  },
  MS_MAX,
)

test(
  'a guest that is destroyed meanwhile ends it, though its script tells nobody',
  async () => {
    await using hosts = await start()
    hosts.source.setFault('slow-memory')
    const { session } = await hosts.migrate()
    await hosts.until(session, ({ memory }) => memory.state === 'moving' && memory.sentBytes > 0)
    hosts.source.removeDomain(1)
    const status = await hosts.ended(session)
    expect(status.error).toContain('the guest was shut down, rebooted or destroyed')
    expect(await hosts.role(hosts.source)).toBe('owner')
  },
  MS_MAX,
)

test(
  'it comes back as any guest does, once its old copy is released',
  async () => {
    await using hosts = await start()
    const first = await hosts.migrate()
    await hosts.ended(first.session)
    await hosts.ended(first.session, hosts.destination)
    const back = () =>
      hosts.client(hosts.destination).call(
        'migrate-start',
        {
          domain: 'web1',
          host: 'a',
          ssh: { environment: hosts.destination.environment, options: [] },
          copyMode: 'auto',
          bandwidth: 0,
          stallMs: 100,
          reconnectSeconds: 20,
          xlOptions: [],
          isInsecure: false,
        },
        SOON,
      )
    const refused = await back()
    expect((await hosts.ended(refused.session, hosts.destination)).error).toContain('given-away')
    await hosts.client(hosts.source).call('disk-release', { disk: VOLUME }, SOON)
    const { session } = await back()
    const status = await hosts.ended(session, hosts.destination)
    expect(status).toMatchObject({ phase: 'completed', error: null })
    expect(hosts.source.made.has(VOLUME)).toBe(true)
    expect(hosts.destination.made.has(VOLUME)).toBe(false)
    expect(await kindsIn(hosts.destination)).toEqual(['linear'])
  },
  2 * MS_MAX,
)
