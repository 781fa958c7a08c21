/** What the doctor of two hosts says about a guest and about where its disks are to go. */
import { chmodSync, truncateSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { Finding } from '../../src/daemon/session-status.ts'
import { DISK, SOON, TwoHosts } from './two-hosts.ts'

async function examine(hosts: TwoHosts) {
  const ssh = { environment: hosts.source.environment, options: [] }
  const params = { host: 'b', domain: 'web1', ssh }
  return await hosts.client(hosts.source).call('doctor', params, SOON)
}

const named = (findings: readonly Finding[], name: string) =>
  findings.find(finding => finding.name === name)

test('a guest that can move, and the place for its disk on the other host, are good', async () => {
  await using hosts = await TwoHosts.start()
  const { here, there } = await examine(hosts)
  expect(named(here, 'guest')).toMatchObject({ state: 'good' })
  expect(named(there, `disk ${DISK}`)).toMatchObject({
    state: 'good',
    found: `fits into ${hosts.destination.diskFile(DISK)}`,
  })
})

test('a disk that does not fit there is bad, with what to do', async () => {
  await using hosts = await TwoHosts.start()
  truncateSync(hosts.destination.diskFile(DISK), 4096)
  const { there } = await examine(hosts)
  const finding = named(there, `disk ${DISK}`)
  expect(finding).toMatchObject({ state: 'bad', remedy: 'enlarge it' })
  expect(finding?.found).toContain('too small at the destination')
})

test('a disk that is read-only there is bad, with what to do', async () => {
  await using hosts = await TwoHosts.start()
  chmodSync(hosts.destination.diskFile(DISK), 0o400)
  const { there } = await examine(hosts)
  const finding = named(there, `disk ${DISK}`)
  expect(finding).toMatchObject({ state: 'bad', remedy: 'make it writable, see blockdev --setrw' })
  expect(finding?.found).toContain('is read-only at the destination')
})

test('a disk that the other host has given away must be released there first', async () => {
  await using hosts = await TwoHosts.start()
  const { session } = await hosts.migrate()
  await hosts.ended(session)
  await hosts.ended(session, hosts.destination)
  const ssh = { environment: hosts.destination.environment, options: [] }
  const params = { host: 'a', domain: 'web1', ssh }
  const { there } = await hosts.client(hosts.destination).call('doctor', params, SOON)
  expect(named(there, `disk ${DISK}`)?.remedy).toContain(`blkferry release ${DISK}`)
})
