/**
 * A scenario's measurements as cells: ratios first, then medians with their spread. Both the
 * terminal and the page show these cells. Pure.
 */
import { METRICS } from '../metrics.ts'
import type { Row, ScenarioResult } from '../results.ts'
import { ratio, summarize } from '../statistics.ts'
import { inOrder, roleOf, type SubjectName } from '../subjects.ts'

export interface Cell {
  readonly text: string
  /** Of a ratio: whether it speaks for us. */
  readonly tone?: 'good' | 'bad' | 'even'
}

export interface RatioTable {
  readonly head: readonly string[]
  /** How many of the columns after the first are ratios. */
  readonly ratios: number
  readonly rows: readonly (readonly Cell[])[]
}

/** Ratios within this of 1 say neither this nor that. */
const EVEN = 0.05

export function ratioTable({ rows }: ScenarioResult): RatioTable {
  const subjects = inOrder(rows.flatMap(({ samples }) => Object.keys(samples)))
  const peers = subjects.includes('blkferry') ? subjects.filter(name => name !== 'blkferry') : []
  const head = ['case', ...peers.map(peer => `÷ ${peer}`), ...subjects]
  return {
    head,
    ratios: peers.length,
    rows: rows.map(row => [
      { text: `${row.case}, ${METRICS[row.metric].label}` },
      ...peers.map(peer => ratioCell(row, peer)),
      ...subjects.map(subject => ({ text: valueText(row, subject) })),
    ]),
  }
}

function ratioCell(row: Row, peer: SubjectName): Cell {
  const found = ratio(row.samples.blkferry, row.samples[peer])
  if (found === undefined) return { text: '' }
  const text = formatRatio(found.median)
  if (roleOf(peer) !== 'peer') return { text }
  const better = METRICS[row.metric].better === 'higher' ? found.median : 1 / found.median
  return { text, tone: better > 1 + EVEN ? 'good' : better < 1 - EVEN ? 'bad' : 'even' }
}

function valueText({ metric, samples }: Row, subject: string): string {
  const own = samples[subject]
  if (own === undefined || own.length === 0) return ''
  const { median, low, high, count } = summarize(own)
  const { format } = METRICS[metric]
  if (count === 1) return format(median)
  // The larger of both ways, as a share of the median.
  const spread = Math.max(high - median, median - low) / median
  return `${format(median)} ±${Number.isFinite(spread) ? Math.round(spread * 100) : 0}%`
}

/** `2.41×`, `0.083×`, `12×`. */
export function formatRatio(value: number): string {
  if (value >= 100) return `${Math.round(value)}×`
  if (value >= 10) return `${value.toFixed(1)}×`
  return `${value.toFixed(value < 0.095 ? 3 : 2)}×`
}
