/** `blkferry migrate` against a daemon that tells a story, status by status. */
import { describe, expect, test } from 'vitest'
import { openDaemon } from '../../src/cli/daemon-command.ts'
import { EXIT } from '../../src/cli/exit-codes.ts'
import { FollowedSession } from '../../src/cli/follow-session.ts'
import { untilOver } from '../../src/cli/migrate.ts'
import { run } from '../../src/cli/run.ts'
import { ControlError } from '../../src/control/control-error.ts'
import type { MigrateStartParams } from '../../src/daemon/messages.ts'
import type { SessionStatus } from '../../src/daemon/session-status.ts'
import { type Handlers, sessionSample, withDaemon } from './daemon-support.ts'
import { blkferry, CaughtContext } from './support.ts'

const copying = sessionSample()
const [disk] = copying.disks
const equal = { ...disk!, state: 'synced', dirtyBytes: 0, copyMode: 'write-blocking' } as const
const moving = sessionSample({
  phase: 'ready',
  disks: [equal],
  memory: { state: 'moving', sentBytes: 120 * 1024 ** 2, elapsedMs: 8000 },
})
const moved = sessionSample({
  phase: 'completed',
  outcome: 'destination-owns',
  isCancellable: false,
  disks: [{ ...equal, state: 'handed-over' }],
  memory: { state: 'done', sentBytes: 256 * 1024 ** 2, elapsedMs: 21_000 },
  downtimeMs: 4100,
  sealMs: 92,
  elapsedMs: 102_000,
  phases: [
    { phase: 'setup', atMs: 0 },
    { phase: 'active', atMs: 300 },
    { phase: 'ready', atMs: 80_300 },
  ],
})
const failed = sessionSample({
  phase: 'failed',
  outcome: 'source-owns',
  error: 'host2 does not answer: Connection refused',
})

/** One status after the other; the last one stays. */
function telling(story: readonly SessionStatus[], more: Handlers = {}) {
  const started: MigrateStartParams[] = []
  let next = 0
  const handlers: Handlers = {
    'migrate-start': params => {
      started.push(params)
      return sessionSample({ phase: 'setup', disks: [] })
    },
    'session-status': () => story[Math.min(next++, story.length - 1)]!,
    ...more,
  }
  return { handlers, started }
}

describe('blkferry migrate', () => {
  test('shows the phases, and at the end the downtime and the disks’ share of it', async () => {
    const { handlers } = telling([copying, moving, moved])
    await withDaemon(handlers, async () => {
      const { exitCode, stdout, stderr } = await blkferry(['migrate', 'web1', 'host2'])
      expect({ exitCode, stderr }).toEqual({ exitCode: EXIT.ok, stderr: '' })
      expect(stdout.trimEnd().split('\n')).toEqual([
        'web1: copying, 75% of 8 GiB, dirty 2 GiB, 512 MiB/s, ETA 4.0 s',
        'web1: memory 120 MiB in 8.0 s, disks equal',
        'web1 runs on host2, after 1:42',
        'disks:    1 disk of 8 GiB, 6 GiB copied in 1:20',
        'memory:   256 MiB in 21.0 s',
        'downtime: 4.1 s, of it 92 ms for the disks',
        'kept:     the old copy on this host, until blkferry release web1-root',
      ])
    })
  })

  test('prints every status as JSON, the last one as the result', async () => {
    const { handlers } = telling([copying, moved])
    await withDaemon(handlers, async () => {
      const { stdout } = await blkferry(['migrate', 'web1', 'host2', '--json'])
      const lines = stdout.trimEnd().split('\n')
      expect(lines.map(line => JSON.parse(line))).toEqual([copying, moved])
    })
  })

  test('tells the daemon all that was asked for, and how the caller reaches ssh', async () => {
    const { handlers, started } = telling([moved])
    const words = ['--bandwidth', '100M', '--copy-mode', 'background', '--stall-ms', '250']
    const more = ['--ssh-option=-p', '--ssh-option=2222', '--xl-option=--debug', '--insecure']
    process.env.SSH_AUTH_SOCK = '/run/agent'
    await withDaemon(handlers, async () => {
      await blkferry(['migrate', ...words, ...more, '--address', '10.0.0.2', 'web1', 'host2'])
      await blkferry(['migrate', '--tunnel', 'web1', 'host2'])
      const places = ['--disk', 'xvda=/dev/vg1/a=b', '--disk=xvdb=other']
      await blkferry(['migrate', 'web1', 'host2', ...places])
    })
    delete process.env.SSH_AUTH_SOCK
    expect(started[1]).toMatchObject({ isTunnelled: true, isInsecure: false })
    expect(started[1]).not.toHaveProperty('targets')
    expect(started[2]?.targets).toEqual([
      { vdev: 'xvda', target: '/dev/vg1/a=b' },
      { vdev: 'xvdb', target: 'other' },
    ])
    expect(started.slice(0, 1)).toMatchObject([
      {
        domain: 'web1',
        host: 'host2',
        address: '10.0.0.2',
        bandwidth: 100 * 1024 ** 2,
        copyMode: 'background',
        stallMs: 250,
        reconnectSeconds: 300,
        xlOptions: ['--debug'],
        isInsecure: true,
        ssh: { options: ['-p', '2222'], environment: { SSH_AUTH_SOCK: '/run/agent' } },
      },
    ])
    const passed = Object.keys(started[0]!.ssh.environment)
    expect(passed.filter(name => /PASSWORD|TOKEN|^VITEST/.test(name))).toEqual([])
  })

  test.each(['xvda', 'xvda=', '=other', '/dev/vg0/web1=other'])(
    'does not take --disk %s',
    async given => {
      const { exitCode, stderr } = await blkferry(['migrate', 'web1', 'host2', '--disk', given])
      expect(exitCode).toBe(EXIT.usage)
      expect(stderr).toContain('--disk must be VDEV=TARGET')
    },
  )

  test.each([
    ['fails', failed, 'the migration failed: host2 does not answer: Connection refused'],
    ['is cancelled', { ...failed, phase: 'cancelled' } as const, 'the migration was cancelled'],
  ])('that %s says that the guest goes on here', async (_how, last, sentence) => {
    const { handlers } = telling([copying, last])
    await withDaemon(handlers, async () => {
      const { exitCode, stderr } = await blkferry(['migrate', 'web1', 'host2'])
      expect(exitCode).toBe(EXIT.mirror)
      expect(stderr).toBe(`blkferry: ${sentence}; web1 goes on here\n`)
    })
  })

  test('waits until nothing of a failed session is left', async () => {
    const { handlers } = telling([{ ...failed, isCleaningUp: true }, failed])
    await withDaemon(handlers, async (_socket, asked) => {
      await blkferry(['migrate', 'web1', 'host2'])
      expect(asked).toEqual(['migrate-start', 'session-status', 'session-status'])
    })
  })

  test('that ends in doubt says so with an exit code of its own', async () => {
    const doubt = sessionSample({ phase: 'switchover', outcome: 'undefined', error: 'no answer' })
    const { handlers } = telling([doubt])
    await withDaemon(handlers, async () => {
      const followed = new FollowedSession(await openDaemon(), doubt.session)
      const left = untilOver(followed, new CaughtContext(), -1)
      await expect(left).rejects.toMatchObject({
        exitCode: EXIT.undefined,
        message: expect.stringContaining('blkferry resolve 7f3a'),
      })
      followed.close()
    })
  })

  test('refused by the daemon is one sentence', async () => {
    const refuse = () => {
      throw ControlError.refuse('refused', 'disk xvda is not under blkferry: give it script=')
    }
    await withDaemon({ 'migrate-start': refuse }, async () => {
      const { exitCode, stderr } = await blkferry(['migrate', 'web1', 'host2'])
      expect(exitCode).toBe(EXIT.failed)
      expect(stderr).toBe('blkferry: disk xvda is not under blkferry: give it script=\n')
    })
  })
})

describe('Ctrl-C', () => {
  /** Sends the signal when the session is first asked for. */
  async function interrupted(story: readonly SessionStatus[], cancel: () => SessionStatus) {
    const context = new CaughtContext()
    let polls = 0
    const { handlers: told } = telling(story)
    const handlers: Handlers = {
      ...told,
      'session-cancel': cancel,
      'session-status': (params, gone) => {
        if (++polls === 1) context.signal('SIGINT')
        return told['session-status']!(params, gone)
      },
    }
    let exitCode: number | undefined
    let verbs: string[] = []
    await withDaemon(handlers, async (_socket, asked) => {
      exitCode = await run(['migrate', 'web1', 'host2'], context)
      verbs = asked
    })
    return { exitCode, context, verbs }
  }

  test('cancels the session and waits for its end', async () => {
    const cancelled = { ...failed, phase: 'cancelled' } as const
    const { exitCode, context, verbs } = await interrupted([copying, cancelled], () => cancelled)
    expect(verbs).toContain('session-cancel')
    expect(exitCode).toBe(EXIT.mirror)
    expect(context.stderr).toContain('was cancelled; web1 goes on here')
    expect(context.isListening).toBe(false)
  })

  test('past the point of no return is refused with a sentence; the session goes on', async () => {
    const { exitCode, context } = await interrupted([moving, moved], () => {
      throw ControlError.refuse('wrong-state', 'session is past the point of no return')
    })
    expect(exitCode).toBe(EXIT.ok)
    expect(context.stderr).toBe(
      'too late to cancel: past the point of no return, or over already\n',
    )
    expect(context.stdout).toContain('web1 runs on host2')
  })
})
