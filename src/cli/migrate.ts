/**
 * `blkferry migrate`: moves a guest with its disks. The daemon does the work; this command shows
 * it, and holds it: while its connection lasts the session goes on, and a signal, or its death,
 * cancels up to the point of no return.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ControlError } from '../control/control-error.ts'
import { COPY_MODE_CHOICES, type CopyModeChoice } from '../control/status.ts'
import type { MigrateStartParams } from '../daemon/messages.ts'
import type { SessionStatus } from '../daemon/session-status.ts'
import { type Context, defineCommand } from './command.ts'
import { ANSWER, openDaemon, PEER_ANSWER, sshAccess, sshOption } from './daemon-command.ts'
import { CommandFailure, EXIT, type ExitCode, UsageError } from './exit-codes.ts'
import { FollowedSession, followSession, isOver } from './follow-session.ts'
import { copyModeHelp } from './mirror-start.ts'
import { choice, flag, integer, optional, rate, several, text, withDefault } from './options.ts'
import type { Output } from './output.ts'
import { summaryText } from './session-progress.ts'

/** How long an outcome may stay unknown, while the daemon asks the other host, before we say so. */
const UNDEFINED_MS_MAX = 60_000

export const migrateCommand = defineCommand({
  name: 'migrate',
  summary: 'move a running guest with its local disks to another host',
  details:
    'Copies the guest’s disks while it runs, moves its memory with xl migrate, and hands the ' +
    'disks over with it. Shows progress meanwhile. Ctrl-C, or the end of this command, cancels: ' +
    'the guest goes on at the source. Past the point of no return, which is less than a second ' +
    'before the guest starts at the destination, it is too late for that. Exit code 5: the guest ' +
    'is still here; 9: it is not known where it is, and the daemon goes on asking.',
  positionals: [
    { name: 'DOMAIN', help: 'the guest’s name or number, as in xl list' },
    { name: 'HOST', help: 'the other host, as ssh knows it' },
  ],
  options: {
    'copy-mode': withDefault(choice(COPY_MODE_CHOICES), 'auto', copyModeHelp),
    bandwidth: withDefault(rate, '0', 'limit of each disk’s copy, 0 for none'),
    'stall-ms': withDefault(
      integer(1, 3_600_000),
      '100',
      'how long a guest write may wait for the other host, in milliseconds',
    ),
    'reconnect-seconds': withDefault(
      integer(0, 86_400),
      '300',
      'how long a lost connection is tried again before the migration fails; the other host ' +
        'waits for 900 at most',
    ),
    address: optional(
      text('ADDRESS'),
      'where the disks go by TCP, as of a faster network; what ssh connects to without it',
    ),
    disk: several(
      text('VDEV=TARGET'),
      'what a disk is called at the destination, if not as here: xvda=/dev/vg1/web1',
    ),
    tunnel: flag('send the disks through ssh, where only its port is open; slower'),
    insecure: flag('send the disks without encryption, for a network of your own'),
    'ssh-option': sshOption,
    'xl-option': several(text('WORD'), 'a word for xl migrate, as --xl-option=--debug'),
  },
  examples: [
    'blkferry migrate web1 host2',
    'blkferry migrate web1 host2 --bandwidth 100M --ssh-option=-p --ssh-option=2222',
    'blkferry migrate web1 host2 --address 10.0.0.2 --json',
    'blkferry migrate web1 host2 --disk xvda=/dev/vg1/web1',
  ],
  run: async (values, context, [domain = '', host = '']) => {
    const params = startParams(domain, host, values)
    using client = await openDaemon()
    const begun = await client.call('migrate-start', params, PEER_ANSWER)
    const followed = new FollowedSession(client, begun.session)
    try {
      return await untilOver(followed, context)
    } finally {
      followed.close()
    }
  },
})

function startParams(
  domain: string,
  host: string,
  values: {
    readonly 'copy-mode': CopyModeChoice
    readonly bandwidth: number
    readonly 'stall-ms': number
    readonly 'reconnect-seconds': number
    readonly address: string | undefined
    readonly disk: readonly string[]
    readonly tunnel: boolean
    readonly insecure: boolean
    readonly 'ssh-option': readonly string[]
    readonly 'xl-option': readonly string[]
  },
): MigrateStartParams {
  if (host.startsWith('-')) throw new UsageError(`HOST must be the name of a host, not ${host}`)
  const { address, tunnel } = values
  if (tunnel && address !== undefined) {
    throw new UsageError('--tunnel and --address do not go together: ssh has its own way')
  }
  return {
    domain,
    host,
    ssh: sshAccess(values['ssh-option']),
    ...(address === undefined ? {} : { address }),
    copyMode: values['copy-mode'],
    bandwidth: values.bandwidth,
    stallMs: values['stall-ms'],
    reconnectSeconds: values['reconnect-seconds'],
    xlOptions: values['xl-option'],
    ...(values.disk.length === 0 ? {} : { targets: values.disk.map(targetOf) }),
    isInsecure: values.insecure,
    ...(tunnel ? { isTunnelled: true } : {}),
  }
}

/** Follows the session to its end; signals cancel it. */
export async function untilOver(
  followed: FollowedSession,
  context: Context,
  undefinedMsMax = UNDEFINED_MS_MAX,
): Promise<ExitCode> {
  const { output } = context
  let unknownSince: number | undefined
  let isLeaving = false
  const restore = context.onSignal(() => {
    if (isLeaving) {
      output.failure(EXIT.failed, `left: the session goes on, blkferry status ${followed.session}`)
      context.exit(EXIT.failed)
      return
    }
    isLeaving = true
    void cancel(followed, output).then(isCancelled => {
      isLeaving = isCancelled
    })
  })
  try {
    const status = await followSession(followed, output, status => {
      if (status.outcome !== 'undefined') unknownSince = undefined
      else unknownSince ??= performance.now()
      const isLost = performance.now() - (unknownSince ?? performance.now()) > undefinedMsMax
      return isOver(status) || isLost
    })
    return conclude(status, output)
  } finally {
    restore()
  }
}

/** False, and a sentence, if it is too late. */
async function cancel(followed: FollowedSession, output: Output): Promise<boolean> {
  const { session } = followed
  for (let left = 3; left > 0; left -= 1) {
    try {
      await followed.client.call('session-cancel', { session }, ANSWER)
      return true
    } catch (error) {
      if (error instanceof ControlError && error.remoteCode === 'wrong-state') {
        output.note('too late to cancel: past the point of no return, or over already')
        return false
      }
      if (left === 1) output.note(`not cancelled: ${(error as Error).message}`)
      await sleep(500)
    }
  }
  return false
}

function conclude(status: SessionStatus, output: Output): ExitCode {
  const { phase, outcome, domain, peer, session, error, advice } = status
  if (phase === 'completed' && outcome === 'destination-owns') {
    if (advice !== undefined) {
      if (output.isJson) output.result(status, '')
      throw new CommandFailure(EXIT.stopped, advice)
    }
    output.result(status, summaryText(status))
    return EXIT.ok
  }
  const why = error ?? 'see the daemon’s log'
  if (outcome === 'undefined') {
    const advice = `look there with xl list, then blkferry resolve ${session}`
    const problem = `nobody knows whether ${domain} runs on ${peer} (${why})`
    throw new CommandFailure(EXIT.undefined, `${problem}: ${advice}`)
  }
  if (output.isJson) output.result(status, '')
  const what = phase === 'cancelled' ? 'was cancelled' : `failed: ${why}`
  throw new CommandFailure(EXIT.mirror, `the migration ${what}; ${domain} goes on here`)
}

function targetOf(given: string): { vdev: string; target: string } {
  const [, vdev, target] = /^([a-z0-9]+)=(.+)$/.exec(given) ?? []
  if (vdev !== undefined && target !== undefined) return { vdev, target }
  throw new UsageError(`--disk must be VDEV=TARGET, as xvda=/dev/vg1/web1, not ${given}`)
}
