/** Disks that the guest did not have when its session began, and names that it did not have. */
import { truncateSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { DISK, SECOND_DISK, SOON, TwoHosts } from './two-hosts.ts'

const MS_MAX = 60_000
const OTHER = { vdev: 'xvdb', disk: SECOND_DISK, script: 'block-ferry' }

/** As -C names a file with them: xl sends these disks, and the guest has others. */
async function sends(hosts: TwoHosts, disks: readonly (typeof OTHER)[]): Promise<void> {
  for (const host of [hosts.source, hosts.destination]) {
    writeFileSync(host.diskFile(SECOND_DISK), '')
    truncateSync(host.diskFile(SECOND_DISK), 1024 * 1024)
  }
  const [guest] = hosts.source.domains
  hosts.source.writeDomain({ ...guest!, disks })
}

async function expectUntouched(hosts: TwoHosts, session: string): Promise<void> {
  expect(await hosts.outcome(session)).toMatchObject({
    source: 'source-owns',
    domains: ['web1 running', ''],
  })
  const { disks } = await hosts.client(hosts.destination).call('disk-list', { after: '' }, SOON)
  expect(disks).toMatchObject([{ disk: DISK, role: 'none' }])
  const before = hosts.writer.writes
  await expect.poll(() => hosts.writer.writes, { timeout: 10_000 }).toBeGreaterThan(before + 5)
  await hosts.writer.stop()
  expect(hosts.writer.errors).toBe(0)
  expect(await hosts.writer.missingIn(hosts.source.diskFile(DISK))).toEqual([])
}

test.each([
  [
    'more than the session copies',
    [{ vdev: 'xvda', disk: DISK, script: 'block-ferry' }, OTHER],
    'has a disk xvdb that this session does not copy: begin again',
  ],
  ['fewer than that', [], 'has no disk xvda'],
  [
    'another one in the place of one',
    [{ ...OTHER, vdev: 'xvda' }],
    `has ${SECOND_DISK} as disk xvda, and not ${DISK}`,
  ],
])(
  'a configuration that has %s is not sent, and the guest goes on here',
  async (_name, disks, sentence) => {
    await using hosts = await TwoHosts.start()
    await sends(hosts, disks)
    const { session } = await hosts.migrate()
    const status = await hosts.ended(session)
    expect(status.phase).toBe('failed')
    expect(status.error).toContain(sentence)
    await expectUntouched(hosts, session)
  },
  MS_MAX,
)

const VBD = 'backend/vbd/1/51728'

test.each<readonly [string, (hosts: TwoHosts) => Promise<void> | void, string]>([
  [
    'is given a disk',
    ({ source }) =>
      source.xenstore.write({ [`${VBD}/params`]: SECOND_DISK, [`${VBD}/dev`]: 'xvdb' }),
    `domain web1 was given disk xvdb, ${SECOND_DISK}, meanwhile: begin the migration again`,
  ],
  [
    'is given a disk by QEMU',
    ({ source }) => {
      const note = '/libxl/1/device/vbd/51728'
      const backend = '/local/domain/0/backend/qdisk/1/51728'
      return source.xenstore.write({ [`${note}/backend`]: backend, [`${note}/dev`]: 'xvdb' })
    },
    'disk xvdb is served by QEMU or a driver domain, and would not be copied',
  ],
  [
    'has another disk in the place of one',
    ({ source }) => source.xenstore.write({ 'backend/vbd/1/51712/params': SECOND_DISK }),
    `was given disk xvda, ${SECOND_DISK}`,
  ],
  [
    'is called something else',
    ({ source }) => source.writeDomain({ ...source.domains[0]!, name: 'web2' }),
    'domain web1 was called web2 meanwhile: begin the migration again',
  ],
])(
  'no memory moves of a guest that %s while its disks are copied',
  async (_name, change, sentence) => {
    await using hosts = await TwoHosts.start()
    const { session } = await hosts.migrate({ bandwidth: 2 * 1024 * 1024 })
    await hosts.until(session, ({ phase }) => phase === 'active')
    await change(hosts)
    const status = await hosts.ended(session)
    expect([status.phase, status.memory.state]).toEqual(['failed', 'waiting'])
    expect(status.error).toContain(sentence)
    expect(await hosts.role(hosts.source)).toBe('owner')
    await hosts.writer.stop()
    expect(hosts.writer.errors).toBe(0)
  },
  MS_MAX,
)
