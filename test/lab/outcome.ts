/** What must hold after any end of a migration: one owner, whose guest has all its writes. */
import type { Guest } from './guest.ts'
import type { Host } from './host.ts'
import { expectNothingLeft, expectOwner, whereRuns } from './left-over.ts'
import { GUEST } from './migration.ts'
import type { Figures, Lab } from './scenario.ts'

/** A start of a daemon with something to recover, on a slow host. */
const DAEMON_MS_MAX = 180_000

/**
 * The guest runs on exactly one host, which owns its disk, goes on writing there, saw no error and
 * finds every write; nothing else is left. Returns where. `expected`: it must be this one.
 */
export async function expectOneOwner(lab: Lab, guest: Guest, expected?: Host): Promise<Figures> {
  const { a, b } = lab
  // A daemon that was killed starts again with the next call, as its unit would do it at once.
  const options = { timeoutMs: DAEMON_MS_MAX }
  await Promise.all([a, b].map(host => host.run('blkferry status', options)))
  const owner = await whereRuns(GUEST, [a, b])
  if (expected !== undefined && owner !== expected) {
    throw new Error(`the guest runs on ${owner.name}, expected on ${expected.name}`)
  }
  guest.host = owner
  await guest.expectWriting()
  const { acknowledged } = await guest.expectIntact()
  await expectNothingLeft([a, b])
  await expectOwner(owner, owner === a ? b : a, [`${GUEST}-0`])
  return { owner: owner.name, acknowledged }
}
