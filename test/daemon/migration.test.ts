/** Whole migrations between two daemons, with a stub of xl: who owns, where the guest is. */
import { expect, test } from 'vitest'
import { DISK, TwoHosts } from './two-hosts.ts'

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
