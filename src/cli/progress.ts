/**
 * A mirror's status as one line for people. Pure: the same status gives the same line, and a field
 * that says nothing is left out. Words and order stay put between updates, so a redrawn line is
 * calm.
 */
import type { MirrorStatus } from '../control/status.ts'
import { formatDuration, formatRate, formatSize } from './units.ts'

export function progressLine(status: MirrorStatus): string {
  return LINES[status.state](status)
    .filter(part => part !== '')
    .join(', ')
}

const LINES: Readonly<Record<MirrorStatus['state'], (status: MirrorStatus) => string[]>> = {
  created: status => ['starting', `0% of ${formatSize(status.size)}`],
  running: status => [
    `pass ${status.pass}`,
    `${percentClean(status)}% of ${formatSize(status.size)}`,
    `dirty ${formatSize(status.dirtyBytes)}`,
    `${formatRate(status.rateBytesPerSecond)}${limit(status)}`,
    writers(status),
    eta(status),
    status.copyMode,
    troubles(status),
  ],
  ready: status => [
    status.activelySynced ? 'ready, actively synced' : 'ready',
    `dirty ${formatSize(status.dirtyBytes)}`,
    writers(status),
    status.copyMode,
    troubles(status),
  ],
  waiting: status => [
    `waiting for the target${because(status)}`,
    `dirty ${formatSize(status.dirtyBytes)}`,
    troubles(status),
  ],
  switchover: status => [
    `switchover, clients held for ${formatDuration(status.heldMs)}`,
    `dirty ${formatSize(status.dirtyBytes)}`,
  ],
  concluded: status => [
    `${status.outcome ?? 'concluded'}${because(status)}`,
    `${formatSize(status.copiedBytes)} copied`,
    status.zeroedBytes > 0 ? `${formatSize(status.zeroedBytes)} zeroed` : '',
    status.skippedBytes > 0 ? `${formatSize(status.skippedBytes)} skipped` : '',
    status.forwardedBytes > 0 ? `${formatSize(status.forwardedBytes)} forwarded` : '',
    status.pass === 1 ? '1 pass' : `${status.pass} passes`,
    `in ${formatDuration(status.elapsedMs)}`,
    status.heldMs > 0 ? `clients held for ${formatDuration(status.heldMs)}` : '',
    troubles(status),
  ],
}

/** Rounded down: 100 means that nothing is dirty. */
function percentClean({ size, dirtyBytes }: MirrorStatus): number {
  return size === 0 ? 100 : Math.floor((Math.max(0, size - dirtyBytes) / size) * 100)
}

function limit({ bandwidth }: MirrorStatus): string {
  return bandwidth > 0 ? ` (limit ${formatRate(bandwidth)})` : ''
}

function writers({ dirtyRateBytesPerSecond }: MirrorStatus): string {
  return dirtyRateBytesPerSecond > 0 ? `dirtied ${formatRate(dirtyRateBytesPerSecond)}` : ''
}

function eta({ etaSeconds }: MirrorStatus): string {
  return `ETA ${etaSeconds === null ? 'unknown' : formatDuration(etaSeconds * 1000)}`
}

function because({ error }: MirrorStatus): string {
  return error === null ? '' : `: ${error}`
}

function troubles({ stalls, reconnects, targetErrors }: MirrorStatus): string {
  return [
    count(stalls, 'stall'),
    count(reconnects, 'reconnect'),
    count(targetErrors, 'target error'),
  ]
    .filter(part => part !== '')
    .join(', ')
}

function count(number: number, noun: string): string {
  if (number === 0) return ''
  return number === 1 ? `1 ${noun}` : `${number} ${noun}s`
}
