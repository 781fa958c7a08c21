/** What a daemon tells about sessions and disks, as lines for people. */
import type {
  DiskRole,
  DiskStatus,
  SessionStatus,
  SessionSummary,
} from '../daemon/session-status.ts'
import { replacementsText, sessionLine } from './session-progress.ts'
import { formatDuration, formatRate, formatSize } from './units.ts'

export interface HostOverview {
  readonly host: string
  readonly version: string
  readonly pid: number
  readonly sessions: readonly SessionSummary[]
  readonly disks: readonly DiskRole[]
}

export function overviewText({ host, version, pid, sessions, disks }: HostOverview): string {
  return [
    `host:     ${host}, blkferry ${version}, daemon ${pid}`,
    ...block('sessions:', sessions.map(summaryLine)),
    ...block('disks:', disks.map(diskText)),
  ].join('\n')
}

/** Names short enough for a line are long enough to be unique. */
const SESSION_SHOWN = 8

function summaryLine({ session, side, domain, peer, phase, outcome, error }: SessionSummary) {
  const way = side === 'source' ? `to ${peer}` : `from ${peer}`
  const ended = outcome === null ? '' : `, ${outcome}`
  const problem = error === null ? '' : `: ${error}`
  return `${session.slice(0, SESSION_SHOWN)}  ${domain} ${way}, ${phase}${ended}${problem}`
}

export function diskText({ disk, role, epoch, session, device }: DiskRole): string {
  const of = session === null ? '' : `, session ${session.slice(0, SESSION_SHOWN)}`
  const at = device === null ? '' : `, ${device}`
  return `${disk}  ${role}, epoch ${epoch}${of}${at}`
}

function block(title: string, lines: readonly string[]): string[] {
  if (lines.length === 0) return [`${title.padEnd(10)}none`]
  return lines.map((line, index) => (index === 0 ? title : '').padEnd(10) + line)
}

/** All of one session. */
export function sessionText(status: SessionStatus): string {
  const { session, side, peer, phase, outcome, memory, disks, phases } = status
  const way = side === 'source' ? `to ${peer}` : `from ${peer}`
  const ended = outcome === null ? '' : `, ${outcome}`
  const when = phases.map(({ phase, atMs }) => `${phase} ${formatDuration(atMs)}`).join(', ')
  return [
    sessionLine(status),
    `session:  ${session}, ${way}, ${phase}${ended}, ${formatDuration(status.elapsedMs)}`,
    `phases:   ${when}`,
    ...block('disks:', disks.map(diskLine)),
    `memory:   ${memory.state}, ${formatSize(memory.sentBytes)}`,
    ...downtime(status),
  ].join('\n')
}

function diskLine(disk: DiskStatus): string {
  const parts = [
    `${disk.vdev}  ${disk.disk}, ${formatSize(disk.size)}, ${disk.state}`,
    `dirty ${formatSize(disk.dirtyBytes)}`,
    disk.copiedBytes > 0 ? `${formatSize(disk.copiedBytes)} copied` : '',
    disk.rateBytesPerSecond > 0 ? formatRate(disk.rateBytesPerSecond) : '',
    disk.copyMode ?? '',
    replacementsText(disk.replacements),
    disk.error ?? '',
  ]
  return parts.filter(part => part !== '').join(', ')
}

function downtime({ downtimeMs, sealMs }: SessionStatus): string[] {
  if (downtimeMs === null) return []
  const share = sealMs === null ? '' : `, of it ${formatDuration(sealMs)} for the disks`
  return [`downtime: ${formatDuration(downtimeMs)}${share}`]
}
