/** What the next daemon makes of a session of a guest that was never prepared. */
import { truncateSync, writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { runDaemon } from '../../src/daemon/daemon.ts'
import { HostJournal } from '../../src/daemon/host-journal.ts'
import { recover } from '../../src/daemon/recover.ts'
import { recorded, SessionRecords } from '../../src/daemon/session-record.ts'
import { Sessions } from '../../src/daemon/sessions.ts'
import { fence, swap } from '../../src/host/dm-swap.ts'
import { openJournal } from '../../src/migration/journal-file.ts'
import type { RoleVerb } from '../../src/migration/roles.ts'
import { temporary } from '../support/temporary.ts'
import { StubHost } from './stub-host.ts'
import { VOLUME, VOLUME_DEVICE } from './two-hosts.ts'

const SIZE = 1024 * 1024
const SESSION = 's1'
const MS_MAX = 60_000
const log = pino({ level: 'silent' })

/** Fails so many times first, as a kernel does that does not answer in time. */
function after<A extends readonly unknown[], T>(
  failures: number,
  act: (...words: A) => Promise<T>,
) {
  let left = failures
  return async (...words: A): Promise<T> => {
    if (left-- > 0) throw new Error('no answer in 10000 ms')
    return await act(...words)
  }
}

/**
 * A crash has left a sealed disk, and each journal with these steps behind it; `failures`: of each
 * look at it, and of each clean-up.
 */
async function crashed(
  here: readonly RoleVerb[],
  there: readonly RoleVerb[],
  failures = 0,
): Promise<{ source: StubHost; journal: HostJournal } & AsyncDisposable> {
  const folder = await temporary()
  const source = new StubHost(folder.file('a'), 'a')
  const destination = new StubHost(folder.file('b'), 'b')
  source.connectTo(destination)
  const applyTo = (state: string, verbs: readonly RoleVerb[]): HostJournal => {
    const journal = new HostJournal(() => openJournal(state))
    for (const verb of verbs) {
      const epoch = verb === 'admit' ? { epoch: 1 } : {}
      const session = verb === 'claim' ? {} : { session: SESSION }
      journal.apply(verb, [{ disk: VOLUME, ...session, ...epoch }])
    }
    return journal
  }
  applyTo(folder.file('state-b'), there).close()
  const { socket } = destination
  const stateFolder = folder.file('state-b')
  const daemon = await runDaemon({ socket, stateFolder, host: destination, log })
  const journal = applyTo(folder.file('state-a'), here)
  writeFileSync(source.diskFile(VOLUME), '')
  truncateSync(source.diskFile(VOLUME), SIZE)
  await source.addPlainDevice(VOLUME)
  await source.plainDevices.keep(VOLUME, VOLUME_DEVICE)
  const plain = await source.mapper.table(VOLUME_DEVICE)
  await source.mapper.suspend(VOLUME_DEVICE)
  source.findLeftovers = after(failures, async () => [
    { session: SESSION, disk: 'xvda', device: VOLUME_DEVICE, state: 'sealed' },
  ])
  source.cleanUp = after(failures, async (_left, outcome) => {
    if (outcome === 'discard') await fence(source.mapper, VOLUME_DEVICE)
    else await swap(source.mapper, VOLUME_DEVICE, plain, { blockSizeOf: () => 512 })
  })
  const records = new SessionRecords(folder.file('records'))
  const ssh = { environment: source.environment, options: [] }
  const disk = { vdev: 'xvda', disk: VOLUME, size: SIZE, epoch: 1, isPrepared: false }
  const about = { session: SESSION, side: 'source', domain: 'web1', domid: 1, peer: 'b' } as const
  records.write({ ...about, ssh, disks: [recorded(disk)], processes: [] })
  const context = { host: source, journal, records, log }
  const sessions = new Sessions(context)
  await recover(context, sessions)
  await sessions.source(SESSION).finished
  const close = async (): Promise<void> => {
    await daemon.stop()
    journal.close()
    await folder[Symbol.asyncDispose]()
  }
  return { source, journal, [Symbol.asyncDispose]: close }
}

const kindOf = async (host: StubHost): Promise<string | undefined> =>
  (await host.mapper.table(VOLUME_DEVICE))[0]?.type

test.each([0, 2])(
  'a volume that was given away stays, fails, and can still be released, after %d failures',
  async failures => {
    const there = ['admit', 'accept', 'settle'] as const
    await using all = await crashed(['claim', 'seal', 'give-away'], there, failures)
    expect(all.journal.holding(VOLUME).role).toBe('given-away')
    expect(await kindOf(all.source)).toBe('error')
    await all.source.plainDevices.restore(VOLUME)
    expect(await kindOf(all.source)).toBe('linear')
  },
  MS_MAX,
)

test.each([0, 2])(
  'one that was not is its guest’s again, and nothing of it is remembered, after %d failures',
  async failures => {
    await using all = await crashed(['claim', 'seal'], ['admit'], failures)
    expect(all.journal.holding(VOLUME)).toEqual({ role: 'owner', epoch: 1, session: undefined })
    expect(await kindOf(all.source)).toBe('linear')
    expect((await all.source.mapper.status(VOLUME_DEVICE)).isSuspended).toBe(false)
    await fence(all.source.mapper, VOLUME_DEVICE)
    await all.source.plainDevices.restore(VOLUME)
    expect(await kindOf(all.source)).toBe('error')
  },
  MS_MAX,
)

test(
  'a device without a session is looked for until that has succeeded',
  async () => {
    await using folder = await temporary()
    const source = new StubHost(folder.file('a'), 'a')
    const journal = new HostJournal(() => openJournal(folder.file('state-a')))
    const left = { session: 's0', disk: 'xvda', device: VOLUME_DEVICE, state: 'sealed' } as const
    const cleaned: unknown[] = []
    source.findLeftovers = after(1, async () => [left])
    source.cleanUp = after(1, async (...words) => {
      cleaned.push(words.slice(0, 2))
    })
    const records = new SessionRecords(folder.file('records'))
    const context = { host: source, journal, records, log }
    await recover(context, new Sessions(context))
    await expect.poll(() => cleaned, { timeout: MS_MAX }).toEqual([[left, 'restore']])
    journal.close()
  },
  MS_MAX,
)
