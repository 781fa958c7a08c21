/** The outcome of a demo, as JSON and as the table that is printed at its end. */
import { formatDuration, formatRate, formatSize } from '../cli/units.ts'
import type { MirrorStatus } from '../control/status.ts'
import type { LatencySummary } from './latencies.ts'

export interface Check {
  readonly name: string
  /** Undefined: could not be checked, `detail` says why. */
  readonly isRight: boolean | undefined
  readonly detail: string
}

export interface Summary {
  readonly engine: string
  readonly mirror: MirrorStatus
  /** From the start of the mirror until it was ready. */
  readonly readyMs: number
  readonly latencies: Readonly<Record<'before' | 'during' | 'after', LatencySummary>>
  /** How long the client was without an answer around the switchover, reconnecting included. */
  readonly clientGapMs: number
  readonly checks: readonly Check[]
}

export function isRight({ checks }: Summary): boolean {
  return checks.every(check => check.isRight !== false)
}

export function summaryTable({
  engine,
  mirror,
  readyMs,
  latencies,
  clientGapMs,
  checks,
}: Summary): string {
  const { size, copiedBytes, zeroedBytes, skippedBytes, forwardedBytes, pass } = mirror
  const rate = formatRate((copiedBytes / Math.max(readyMs, 1)) * 1000)
  const passes = pass === 1 ? '1 pass' : `${pass} passes`
  const rows = Object.entries(latencies).map(([name, { count, p50, p99, max }]) =>
    [
      name.padEnd(12),
      ...[`${count}`, ms(p50), ms(p99), ms(max)].map(text => text.padStart(12)),
    ].join(''),
  )
  return [
    '',
    `disk          ${formatSize(size)}, engine ${engine}`,
    `copied        ${formatSize(copiedBytes)} as data, ${formatSize(zeroedBytes)} as zeroes, ` +
      `${formatSize(skippedBytes)} skipped, ${formatSize(forwardedBytes)} forwarded`,
    `ready         after ${formatDuration(readyMs)}, ${passes}, ${rate}`,
    `switchover    clients held for ${formatDuration(mirror.heldMs)}, ` +
      `the client without an answer for ${formatDuration(clientGapMs)}, reconnecting included`,
    '',
    ['client      ', ...['writes', 'p50', 'p99', 'max'].map(text => text.padStart(12))].join(''),
    ...rows,
    '',
    ...checks.map(check => `${WORDS[`${check.isRight}`]} ${check.name}: ${check.detail}`),
  ].join('\n')
}

const WORDS = { true: 'proved  ', false: 'WRONG   ', undefined: 'unproved' } as const

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 0)} ms`
}
