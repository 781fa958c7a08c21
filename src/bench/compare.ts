/**
 * Compares two runs by their ratios to the peers, which the machine's speed cancels out of. Where a
 * row has no peer the values themselves are compared. Worse means worse by more than the tolerance,
 * and beyond the spread of both runs. Pure.
 */
import { METRICS, type MetricName } from './metrics.ts'
import type { Row, Run } from './results.ts'
import { ratio, type Summary, summarize } from './statistics.ts'
import { inOrder, roleOf } from './subjects.ts'

/** A change of a ratio that is no news. */
export const TOLERANCE = 0.15

export interface Change {
  readonly scenario: string
  readonly case: string
  readonly metric: MetricName
  /** `blkferry / nbdkit`. */
  readonly what: string
  readonly before: Summary
  readonly after: Summary
  /** How many times better (above 1) or worse (below 1) it is now. */
  readonly factor: number
  readonly verdict: 'better' | 'worse' | 'same'
}

export function compareRuns(before: Run, after: Run, tolerance = TOLERANCE): Change[] {
  return after.scenarios.flatMap(({ name, rows }) => {
    const old = before.scenarios.find(scenario => scenario.name === name)
    return rows.flatMap(row => {
      const match = old?.rows.find(r => r.case === row.case && r.metric === row.metric)
      return match === undefined ? [] : compareRows(name, match, row, tolerance)
    })
  })
}

function compareRows(scenario: string, before: Row, after: Row, tolerance: number): Change[] {
  const { case: name, metric } = after
  return comparisons(after).flatMap(({ what, of }) => {
    const [old, now] = [of(before), of(after)]
    if (old === undefined || now === undefined) return []
    return [{ scenario, case: name, metric, what, ...weigh(metric, old, now, tolerance) }]
  })
}

interface Comparison {
  readonly what: string
  of(row: Row): Summary | undefined
}

/** Each of ours against each peer; by itself where there is none. */
function comparisons({ samples }: Row): Comparison[] {
  const subjects = inOrder(Object.keys(samples))
  const peers = subjects.filter(name => roleOf(name) === 'peer')
  const ours = subjects.filter(name => ['own', 'variant'].includes(roleOf(name)))
  return ours.flatMap((own): Comparison[] => {
    if (peers.length === 0) return [{ what: own, of: row => absolute(row, own) }]
    return peers.map(peer => ({
      what: `${own} / ${peer}`,
      of: row => ratio(row.samples[own], row.samples[peer]),
    }))
  })
}

function absolute({ samples }: Row, subject: string): Summary | undefined {
  const own = samples[subject]
  return own === undefined || own.length === 0 ? undefined : summarize(own)
}

function weigh(metric: MetricName, before: Summary, after: Summary, tolerance: number) {
  const isHigherBetter = METRICS[metric].better === 'higher'
  const quotient = after.median / before.median
  const factor = isHigherBetter ? quotient : 1 / quotient
  const isApart = after.high < before.low || after.low > before.high
  const isNews = isApart && Math.abs(Math.log(factor)) > Math.log(1 + tolerance)
  const verdict: Change['verdict'] = !isNews ? 'same' : factor > 1 ? 'better' : 'worse'
  return { before, after, factor, verdict }
}
