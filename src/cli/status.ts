/** `blkferry status`: the host's sessions and disks, one session, or one serving process. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ServeStatus } from '../control/status.ts'
import type { DiskRole } from '../daemon/session-status.ts'
import { type Context, defineCommand } from './command.ts'
import { ANSWER_MS_MAX, withControl } from './control-command.ts'
import { ANSWER, type DaemonClient, findSession, withDaemon } from './daemon-command.ts'
import { EXIT, type ExitCode, UsageError } from './exit-codes.ts'
import { FollowedSession, followSession, isOver } from './follow-session.ts'
import { flag, optional, text } from './options.ts'
import { progressLine } from './progress.ts'
import { type HostOverview, overviewText, sessionText } from './status-text.ts'
import { formatDuration, formatSize } from './units.ts'

const WATCH_EVERY_MS = 1000
const WATCH_MS_MAX = 86_400_000

export const statusCommand = defineCommand({
  name: 'status',
  summary: 'show this host’s migrations and disks, or a serving process',
  details:
    'Without SESSION: what migrations there are, the last ones that have ended since the daemon ' +
    'was started too, and what this host is to each disk that a guest has had through blkferry. ' +
    'Ends with 0 whatever became of them. With --control: one process of blkferry serve.',
  positionals: [
    {
      name: 'SESSION',
      help: 'one migration: the guest’s name, or its own, whole or how it begins',
      isOptional: true,
    },
  ],
  options: {
    watch: flag('go on: with SESSION until it is over, without for a day'),
    control: optional(text('SOCK'), 'the control socket that serve was started with'),
  },
  examples: [
    'blkferry status',
    'blkferry status web1 --watch',
    'blkferry status --control /run/guest.sock --json',
  ],
  run: async (values, context, [given]) => {
    const { control, watch } = values
    if (control === undefined) {
      return await withDaemon(client => daemonStatus(client, context, { given, watch }))
    }
    if (given !== undefined || watch) {
      throw new UsageError('--control goes alone: blkferry mirror status has --watch')
    }
    const call = { timeoutMs: ANSWER_MS_MAX }
    const status = await withControl(control, client => client.call('status', {}, call))
    context.output.result(status, statusText(status))
    return EXIT.ok
  },
})

async function daemonStatus(
  client: DaemonClient,
  { output }: Context,
  { given, watch }: { readonly given: string | undefined; readonly watch: boolean },
): Promise<ExitCode> {
  if (given !== undefined) {
    const { session } = await findSession(client, given)
    const followed = new FollowedSession(client, session)
    try {
      const status = await followSession(followed, output, status => !watch || isOver(status))
      output.result(status, sessionText(status))
    } finally {
      followed.close()
    }
    return EXIT.ok
  }
  let printed = ''
  for (let leftMs = watch ? WATCH_MS_MAX : 0; leftMs >= 0; leftMs -= WATCH_EVERY_MS) {
    const overview = await overviewOf(client)
    const shown = overviewText(overview)
    if (shown !== printed) output.result(overview, shown)
    printed = shown
    if (leftMs > 0) await sleep(WATCH_EVERY_MS)
  }
  return EXIT.ok
}

async function overviewOf(client: DaemonClient): Promise<HostOverview> {
  const { host, version, pid } = await client.call('host-status', {}, ANSWER)
  const { sessions } = await client.call('session-list', {}, ANSWER)
  const disks: DiskRole[] = []
  for (let isWhole = false; !isWhole; ) {
    const after = disks.at(-1)?.disk ?? ''
    const part = await client.call('disk-list', { after }, ANSWER)
    disks.push(...part.disks)
    isWhole = part.isWhole || part.disks.length === 0
  }
  return { host, version, pid, sessions, disks }
}

/** A few `word: value` lines about a serving process. */
export function statusText(status: ServeStatus): string {
  const { requests } = status
  const access = status.readOnly ? 'read-only' : 'read-write'
  const direct = status.direct ? 'O_DIRECT' : 'page cache'
  return [
    `disk:     ${status.path}, ${formatSize(status.size)}, ${access}, ${direct}`,
    `export:   ${JSON.stringify(status.export)}, clients ${status.clients}`,
    `process:  ${status.pid}, version ${status.version}, engine ${status.engine}, ` +
      `up ${formatDuration(status.uptimeMs)}`,
    `requests: ${requests.reads} reads (${formatSize(requests.readBytes)}), ` +
      `${requests.writes} writes (${formatSize(requests.writtenBytes)}), ` +
      `${requests.flushes} flushes, ` +
      `${requests.trims} trims (${formatSize(requests.trimmedBytes)}), ` +
      `${requests.writeZeroes} write zeroes (${formatSize(requests.zeroedBytes)}), ` +
      `${requests.otherRequests} others, ${requests.errors} errors`,
    `mirror:   ${status.mirror === null ? 'none' : progressLine(status.mirror)}`,
  ].join('\n')
}
