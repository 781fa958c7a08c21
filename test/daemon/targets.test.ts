/** Disks that are called something else at the destination, for one migration. */
import { truncateSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { withTargets } from '../../src/daemon/preflight.ts'
import { DISK, SOON, TwoHosts, VOLUME } from './two-hosts.ts'

const MS_MAX = 60_000
const SIZE = 4 * 1024 * 1024
const TARGETS = [
  { vdev: 'xvda', target: 'web1-elsewhere' },
  { vdev: 'xvdb', target: '/dev/vg1/web' },
]

function makeTargets(hosts: TwoHosts): void {
  for (const { target } of TARGETS) {
    writeFileSync(hosts.destination.diskFile(target), '')
    truncateSync(hosts.destination.diskFile(target), SIZE)
  }
}

async function namesOn(hosts: TwoHosts, host: TwoHosts['source']): Promise<string[]> {
  const { disks } = await hosts.client(host).call('disk-list', { after: '' }, SOON)
  return disks.map(({ disk, role }) => `${disk} ${role}`)
}

test(
  'a disk goes where it was told to, and each host knows it by its own name',
  async () => {
    await using hosts = await TwoHosts.start([DISK, VOLUME])
    makeTargets(hosts)
    const { session } = await hosts.migrate({ targets: TARGETS })
    expect(await hosts.ended(session)).toMatchObject({ phase: 'completed', error: null })
    const writers = [...hosts.writers.values()]
    for (const [index, { target }] of TARGETS.entries()) {
      await writers[index]?.stop()
      expect(await writers[index]?.missingIn(hosts.destination.diskFile(target))).toEqual([])
    }
    await hosts.ended(session, hosts.destination)
    expect(await namesOn(hosts, hosts.source)).toEqual([
      `${VOLUME} given-away`,
      `${DISK} given-away`,
    ])
    expect(await namesOn(hosts, hosts.destination)).toEqual([
      '/dev/vg1/web owner',
      'web1-elsewhere owner',
    ])
  },
  MS_MAX,
)

test(
  'the destination is asked for its word by its own name when its guest does not start',
  async () => {
    await using hosts = await TwoHosts.start()
    makeTargets(hosts)
    hosts.destination.setFault('fail-unpause')
    const { session } = await hosts.migrate({ targets: TARGETS.slice(0, 1) })
    expect(await hosts.ended(session)).toMatchObject({ phase: 'failed', outcome: 'source-owns' })
    await hosts.ended(session, hosts.destination)
    expect(await namesOn(hosts, hosts.source)).toEqual([`${DISK} owner`])
    expect(await namesOn(hosts, hosts.destination)).toEqual(['web1-elsewhere none'])
  },
  MS_MAX,
)

test('a disk that the guest does not have, or a place for two of them, is refused', () => {
  const about = { size: 1, blockSize: 512, epoch: 1, isPrepared: true }
  const disks = ['xvda', 'xvdb'].map(vdev => ({ ...about, vdev, disk: vdev, device: vdev }))
  const guest = { domid: 1, domain: 'web1', disks }
  const to = (vdev: string, target: string) => withTargets(guest, [{ vdev, target }]).disks
  expect(to('xvda', 'other')).toEqual([{ ...disks[0], target: 'other' }, disks[1]])
  expect(() => to('xvdc', 'other')).toThrow('has no disk xvdc: it has xvda, xvdb')
  expect(() => to('xvda', 'xvdb')).toThrow('two disks would be xvdb at the destination')
})
