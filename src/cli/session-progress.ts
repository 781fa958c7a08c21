/**
 * A session's status as one line for people, as `progress.ts` does for a mirror. Several disks are
 * one copy: sizes and rates are added, and the slowest one's time counts.
 */
import type { DiskStatus, MemoryStatus, SessionStatus } from '../daemon/session-status.ts'
import { formatDuration, formatRate, formatSize } from './units.ts'

export function sessionLine(status: SessionStatus): string {
  const parts = [...LINES[status.phase](status), troubles(status)]
  return `${status.domain}: ${parts.filter(part => part !== '').join(', ')}`
}

const LINES: Readonly<Record<SessionStatus['phase'], (status: SessionStatus) => string[]>> = {
  setup: ({ peer }) => [`getting ready, here and on ${peer}`],
  active: ({ disks }) => copyParts(disks),
  ready: ({ disks, memory }) => [...memoryParts(memory), disksParts(disks)],
  switchover: ({ memory, peer }) => [
    memory.state === 'starting' ? `starting on ${peer}` : 'suspended, handing the disks over',
    `memory ${formatSize(memory.sentBytes)}`,
  ],
  completed: ({ peer, side, advice }) => [
    advice ?? (side === 'source' ? `runs on ${peer}` : 'runs here'),
  ],
  cancelling: status => ['cancelling', cleaning(status)],
  cancelled: status => ['cancelled', cleaning(status)],
  failed: status => ['failed', cleaning(status)],
}

function copyParts(disks: readonly DiskStatus[]): string[] {
  const size = sum(disks, disk => disk.size)
  const dirty = sum(disks, disk => disk.dirtyBytes)
  const copied = size === 0 ? 100 : Math.floor((Math.max(0, size - dirty) / size) * 100)
  const dirtied = sum(disks, disk => disk.dirtyRateBytesPerSecond)
  const isLost = disks.some(({ state }) => state === 'reconnecting')
  return [
    isLost ? 'waiting for the other host' : 'copying',
    `${copied}% of ${formatSize(size)}${disks.length > 1 ? ` in ${disks.length} disks` : ''}`,
    `dirty ${formatSize(dirty)}`,
    isLost ? '' : formatRate(sum(disks, disk => disk.rateBytesPerSecond)),
    dirtied > 0 ? `dirtied ${formatRate(dirtied)}` : '',
    isLost ? '' : `ETA ${eta(disks)}`,
  ]
}

function eta(disks: readonly DiskStatus[]): string {
  const times = disks.map(({ etaSeconds }) => etaSeconds)
  const known = times.filter(time => time !== null)
  return known.length < times.length ? 'unknown' : formatDuration(Math.max(0, ...known) * 1000)
}

function memoryParts({ state, sentBytes, elapsedMs }: MemoryStatus): string[] {
  if (state === 'waiting') return ['memory comes next']
  if (state === 'suspended') return ['suspended', `memory ${formatSize(sentBytes)}`]
  return [`memory ${formatSize(sentBytes)} in ${formatDuration(elapsedMs)}`]
}

function disksParts(disks: readonly DiskStatus[]): string {
  const dirty = sum(disks, disk => disk.dirtyBytes)
  return dirty === 0 ? 'disks equal' : `disks dirty ${formatSize(dirty)}`
}

function cleaning({ isCleaningUp }: SessionStatus): string {
  return isCleaningUp ? 'putting things back' : ''
}

function troubles({ disks, error, phase }: SessionStatus): string {
  const replacements = sum(disks, disk => disk.replacements)
  const replaced = replacementsText(replacements)
  // A cancelled session has that for its error, and its phase says it already.
  const isSaid = phase === 'cancelling' || phase === 'cancelled'
  const problem = (isSaid ? null : error) ?? disks.find(disk => disk.error !== null)?.error ?? ''
  return [replaced, problem].filter(part => part !== '').join(', ')
}

/** How often a proxy died or hung under the guest; empty if none did. */
export function replacementsText(count: number): string {
  if (count === 0) return ''
  return count === 1 ? 'proxy replaced once' : `proxy replaced ${count} times`
}

/** How it went, once the guest runs at the destination; a few lines. */
export function summaryText(status: SessionStatus): string {
  const { domain, peer, disks, downtimeMs, sealMs, memory, elapsedMs } = status
  const size = formatSize(sum(disks, disk => disk.size))
  const copied = formatSize(sum(disks, disk => disk.copiedBytes))
  const many = disks.length === 1 ? '1 disk' : `${disks.length} disks`
  const share = sealMs === null ? '' : `, of it ${formatDuration(sealMs)} for the disks`
  const names = disks.map(({ disk }) => disk)
  const release = names.map(name => `blkferry release ${name}`).join(', ')
  return [
    `${domain} runs on ${peer}, after ${formatDuration(elapsedMs)}`,
    `disks:    ${many} of ${size}, ${copied} copied${spent(status, 'active')}`,
    `memory:   ${formatSize(memory.sentBytes)} in ${formatDuration(memory.elapsedMs)}`,
    `downtime: ${downtimeMs === null ? 'unknown' : formatDuration(downtimeMs)}${share}`,
    `kept:     the old ${disks.length === 1 ? 'copy' : 'copies'} on this host, until ${release}`,
  ].join('\n')
}

/** How long a phase took in all; it may have been entered several times. */
function spent({ phases, elapsedMs }: SessionStatus, wanted: SessionStatus['phase']): string {
  const ms = phases.reduce((total, { phase, atMs }, index) => {
    const end = phases[index + 1]?.atMs ?? elapsedMs
    return phase === wanted ? total + end - atMs : total
  }, 0)
  return ms === 0 ? '' : ` in ${formatDuration(ms)}`
}

function sum(disks: readonly DiskStatus[], of: (disk: DiskStatus) => number): number {
  return disks.reduce((total, disk) => total + of(disk), 0)
}
