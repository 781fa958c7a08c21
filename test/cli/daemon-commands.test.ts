/** The commands that ask the host's daemon: what they ask, what they print, how they fail. */
import { describe, expect, test } from 'vitest'
import { takeListenFd } from '../../src/cli/daemon.ts'
import { EXIT } from '../../src/cli/exit-codes.ts'
import { ControlError } from '../../src/control/control-error.ts'
import type { DiskRole, Finding, SessionSummary } from '../../src/daemon/session-status.ts'
import { sessionSample, withDaemon } from './daemon-support.ts'
import { blkferry } from './support.ts'

const summary = (session: string, domain: string): SessionSummary => ({
  session,
  side: 'source',
  domain,
  peer: 'host2',
  phase: 'active',
  outcome: null,
  error: null,
})
const sessions = [summary('7f3a1111-0000', 'web1'), summary('7f3b2222-0000', 'db1')]
const list = { 'session-list': () => ({ sessions }) }
const role = (disk: string): DiskRole => ({
  disk,
  role: 'given-away',
  epoch: 3,
  session: '7f3a1111-0000',
  device: null,
})

describe('blkferry status', () => {
  const handlers = {
    ...list,
    'host-status': () => ({ version: '0.1.0', pid: 7, host: 'host1', sessions: 2 }),
    'disk-list': ({ after }: { after: string }) =>
      after === ''
        ? { disks: [role('db1')], isWhole: false }
        : { disks: [role('web1')], isWhole: true },
  }

  test('lists sessions and disks, however many parts they come in', async () => {
    await withDaemon(handlers, async () => {
      const { exitCode, stdout } = await blkferry(['status'])
      expect(exitCode).toBe(EXIT.ok)
      expect(stdout.trimEnd().split('\n')).toEqual([
        'host:     host1, blkferry 0.1.0, daemon 7',
        'sessions: 7f3a1111  web1 to host2, active',
        '          7f3b2222  db1 to host2, active',
        'disks:    db1  given-away, epoch 3, session 7f3a1111',
        '          web1  given-away, epoch 3, session 7f3a1111',
      ])
      const json = JSON.parse((await blkferry(['status', '--json'])).stdout)
      expect(json).toMatchObject({ sessions, disks: [role('db1'), role('web1')] })
    })
  })

  test('of one session names its disks and phases', async () => {
    const status = () => sessionSample({ downtimeMs: 4100, sealMs: 92 })
    await withDaemon({ ...list, 'session-status': status }, async () => {
      const { stdout } = await blkferry(['status', 'web1'])
      expect(stdout).toContain('session:  7f3a, to host2, active, 12.0 s')
      expect(stdout).toContain('phases:   setup 0 ms, active 300 ms')
      expect(stdout).toContain('disks:    xvda  web1-root, 8 GiB, copying, dirty 2 GiB')
      expect(stdout).toContain('downtime: 4.1 s, of it 92 ms for the disks')
    })
  })

  test('--control goes alone', async () => {
    const { exitCode } = await blkferry(['status', 'web1', '--control', '/run/x'])
    expect(exitCode).toBe(EXIT.usage)
  })
})

describe('a session', () => {
  const asked: string[] = []
  const handlers = {
    ...list,
    'session-cancel': ({ session }: { session: string }) => {
      asked.push(session)
      return sessionSample({ phase: 'cancelling' })
    },
  }

  test('is named by how it begins, in full, or by its guest', async () => {
    await withDaemon(handlers, async () => {
      for (const given of ['7f3a', '7f3b2222-0000', 'db1']) {
        expect((await blkferry(['cancel', given])).exitCode).toBe(EXIT.ok)
      }
    })
    expect(asked).toEqual(['7f3a1111-0000', '7f3b2222-0000', '7f3b2222-0000'])
  })

  test('that is not clear, or not there, is nobody’s', async () => {
    await withDaemon(handlers, async (_socket, verbs) => {
      const unclear = await blkferry(['cancel', '7f3'])
      expect(unclear.stderr).toBe('blkferry: 2 sessions begin with 7f3: give more of the name\n')
      expect((await blkferry(['cancel', 'mail1'])).stderr).toContain('there is no session mail1')
      expect(verbs).not.toContain('session-cancel')
    })
  })
})

describe('blkferry resolve', () => {
  test.each([
    [[], null],
    [['--force', 'source'], 'source-owns'],
    [['--force', 'destination'], 'destination-owns'],
  ])('%j asks with force %s', async (words, force) => {
    const asked: unknown[] = []
    const resolve = (params: { force: unknown }) => {
      asked.push(params.force)
      return sessionSample({ phase: 'completed', outcome: 'destination-owns' })
    }
    await withDaemon({ ...list, 'session-resolve': resolve }, async () => {
      expect((await blkferry(['resolve', 'web1', ...words])).exitCode).toBe(EXIT.ok)
      expect(asked).toEqual([force])
    })
  })

  test('says what to look at while it is still unknown', async () => {
    const resolve = () => sessionSample({ phase: 'switchover', outcome: 'undefined' })
    await withDaemon({ ...list, 'session-resolve': resolve }, async () => {
      const { exitCode, stderr } = await blkferry(['resolve', 'web1'])
      expect(exitCode).toBe(EXIT.undefined)
      expect(stderr).toContain('look at host2 with xl list and blkferry status')
    })
  })
})

describe('blkferry release and claim', () => {
  test('name the disk and print what it is then', async () => {
    const none = { ...role('web1'), role: 'none' as const, session: null }
    const handlers = { 'disk-release': () => none, 'disk-claim': () => role('web1') }
    await withDaemon(handlers, async () => {
      expect((await blkferry(['release', 'web1'])).stdout).toBe('web1  none, epoch 3\n')
      expect((await blkferry(['claim', 'web1'])).exitCode).toBe(EXIT.ok)
    })
  })
})

describe('blkferry doctor', () => {
  const good: Finding = { name: 'nbd', state: 'good', found: 'is loaded' }
  const bad: Finding = {
    name: 'multipath',
    state: 'bad',
    found: 'is not loaded',
    remedy: 'modprobe dm_multipath',
  }

  test('prints each finding of both hosts, with its remedy, and fails if one is bad', async () => {
    await withDaemon({ doctor: () => ({ here: [good], there: [bad] }) }, async () => {
      const { exitCode, stdout, stderr } = await blkferry(['doctor', 'host2'])
      expect(stdout).toContain('ok       nbd: is loaded\n')
      expect(stdout).toContain(
        'host2:\nBAD      multipath: is not loaded\n         -> modprobe dm_multipath\n',
      )
      expect(exitCode).toBe(EXIT.failed)
      expect(stderr).toMatch(/in the way: see the remedies above/)
    })
  })

  test('still tells what it sees itself where the daemon refuses', async () => {
    const refuse = () => {
      throw ControlError.refuse('internal', 'xenstore is gone')
    }
    await withDaemon({ doctor: refuse }, async () => {
      const { here } = JSON.parse((await blkferry(['doctor', '--json'])).stdout.split('\n')[0]!)
      expect(here.map(({ name }: Finding) => name)).toEqual(
        expect.arrayContaining(['node', 'hotplug-script', 'xl-front-end', 'daemon']),
      )
    })
  })
})

describe('the daemon’s socket', () => {
  test('is systemd’s only if it is meant for this process, and for it alone', () => {
    const environment = { LISTEN_PID: '7', LISTEN_FDS: '1', LISTEN_FDNAMES: 'x', HOME: '/root' }
    expect(takeListenFd({ ...environment }, 8)).toBeUndefined()
    expect(takeListenFd({ HOME: '/root' }, 7)).toBeUndefined()
    expect(takeListenFd(environment, 7)).toBe(3)
    expect(environment).toEqual({ HOME: '/root' })
  })

  test('that belongs to nobody is said to be so, where no daemon can start', async () => {
    process.env.BLKFERRY_SOCKET = '/dev/null/nobody/sock'
    const { exitCode, stderr } = await blkferry(['cancel', 'web1'])
    delete process.env.BLKFERRY_SOCKET
    expect(exitCode).not.toBe(EXIT.ok)
    expect(stderr.trimEnd().split('\n')).toHaveLength(1)
  })
})
