/** Disks that a host gives up, so that others may come in their place. */
import { writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { SOON, TwoHosts } from './two-hosts.ts'

const SPARE = 'spare'
const PATH = 'backend/vbd/7/51728'

test('a disk is given up only when no guest has it, and is then not added again', async () => {
  await using hosts = await TwoHosts.start()
  const host = hosts.destination
  const client = hosts.client(host)
  writeFileSync(host.diskFile(SPARE), Buffer.alloc(4096))
  await host.xenstore.write({ [`${PATH}/params`]: SPARE, [`${PATH}/dev`]: 'xvdb' })
  await client.call('hotplug-add', { path: PATH }, SOON)
  const release = () => client.call('disk-release', { disk: SPARE }, SOON)
  await expect(release()).rejects.toThrow('in use by domain 7 as xvdb')
  await client.call('hotplug-remove', { path: PATH }, SOON)
  await host.xenstore.write({ [`${PATH}/physical-device`]: '' })
  expect(await release()).toMatchObject({ disk: SPARE, role: 'none', epoch: 1 })
  await expect(client.call('hotplug-add', { path: PATH }, SOON)).rejects.toThrow('blkferry claim')
  await expect(release()).rejects.toThrow('only one that it owns or has given away is released')
})
