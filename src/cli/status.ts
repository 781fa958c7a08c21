/** `blkferry status`: what a serving process is and has done. */
import type { ServeStatus } from '../control/status.ts'
import { defineCommand } from './command.ts'
import { ANSWER_MS_MAX, control, withControl } from './control-command.ts'
import { EXIT } from './exit-codes.ts'
import { progressLine } from './progress.ts'
import { formatDuration, formatSize } from './units.ts'

export const statusCommand = defineCommand({
  name: 'status',
  summary: 'show what a serving process is and has done',
  positionals: [],
  options: { control },
  examples: [
    'blkferry status --control /run/guest.sock',
    'blkferry status --control /run/guest.sock --json',
  ],
  run: async (values, { output }) => {
    const call = { timeoutMs: ANSWER_MS_MAX }
    const status = await withControl(values.control, client => client.call('status', {}, call))
    output.result(status, statusText(status))
    return EXIT.ok
  },
})

/** A few `word: value` lines. */
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
