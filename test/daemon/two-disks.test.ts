/** Migrations of a guest with two disks, which are cut at one instant or not at all. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { DISK, SECOND_DISK, TwoHosts } from './two-hosts.ts'

const MS_MAX = 60_000
/** Longer than everything takes that comes after a seal which fails at once. */
const SLOW_SEAL_MS = 4000
const BOTH = [DISK, SECOND_DISK]

test(
  'a guest moves with every write that it was told is done on either disk',
  async () => {
    await using hosts = await TwoHosts.start(BOTH)
    const { session } = await hosts.migrate()
    expect(await hosts.ended(session)).toMatchObject({ phase: 'completed', error: null })
    for (const [disk, writer] of hosts.writers) {
      await writer.stop()
      expect(await writer.missingIn(hosts.destination.diskFile(disk))).toEqual([])
      expect([writer.errors, writer.writes > 50]).toEqual([0, true])
    }
    expect(await hosts.outcome(session)).toMatchObject({
      roles: ['given-away!,given-away!', 'owner,owner'],
      domains: ['', 'web1 running'],
    })
  },
  MS_MAX,
)

test(
  'if one disk cannot be sealed while the other still is, the guest goes on at the source on both',
  async () => {
    await using hosts = await TwoHosts.start(BOTH)
    const { session } = await hosts.migrate({ bandwidth: 4 * 1024 * 1024 })
    await hosts.until(session, ({ phase }) => phase === 'active')
    const [first, second] = hosts.source.paths
    second!.beforeSeal = async () => {
      throw new Error('it is stuck')
    }
    first!.beforeSeal = () => sleep(SLOW_SEAL_MS)
    const status = await hosts.ended(session)
    expect(status).toMatchObject({ phase: 'failed', outcome: 'source-owns' })
    expect(status.error).toContain('it is stuck')
    await sleep(SLOW_SEAL_MS)
    for (const [disk, writer] of hosts.writers) {
      const before = writer.writes
      const more = expect.poll(() => writer.writes, { timeout: 5000, message: disk })
      await more.toBeGreaterThan(before + 5)
      await writer.stop()
      expect(writer.errors).toBe(0)
      expect(await writer.missingIn(hosts.source.diskFile(disk))).toEqual([])
    }
    expect(await hosts.outcome(session)).toMatchObject({
      roles: ['owner,owner', 'none!,none!'],
      domains: ['web1 running', ''],
    })
  },
  MS_MAX,
)
