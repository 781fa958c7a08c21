/**
 * Rates as horizontal bars, a group per case, with the range over the repetitions as a whisker. All
 * groups share one axis, so that cases can be compared too. Pure.
 */
import { METRICS } from '../metrics.ts'
import type { Row } from '../results.ts'
import { summarize } from '../statistics.ts'
import { inOrder } from '../subjects.ts'
import { colourOf } from './colours.ts'
import { element, escapeText, linear, ticks } from './svg.ts'

const WIDTH = 1000
const LABEL_WIDTH = 190
const RIGHT = 92
const BAR = 11
const GAP = 2
const GROUP_GAP = 14
const AXIS = 26

/** Empty if there is nothing to draw. All rows must have the same metric. */
export function barsPlot(rows: readonly Row[], title: string): string {
  const groups = rows.map(row => ({
    name: row.case,
    bars: inOrder(Object.keys(row.samples)).flatMap(subject => {
      const samples = (row.samples[subject] ?? []).filter(Number.isFinite)
      return samples.length === 0 ? [] : [{ subject, ...summarize(samples) }]
    }),
  }))
  const metric = rows[0]?.metric
  if (metric === undefined) return ''
  const { format } = METRICS[metric]
  const highest = Math.max(...groups.flatMap(({ bars }) => bars.map(({ high }) => high)))
  const steps = ticks(highest, 5, metric === 'rate' || metric === 'bytes' ? 1024 : 10)
  const x = linear([0, steps.at(-1)!], [LABEL_WIDTH, WIDTH - RIGHT])
  const parts: string[] = []
  let y = 4
  for (const { name, bars } of groups) {
    const height = bars.length * (BAR + GAP)
    parts.push(text(LABEL_WIDTH - 10, y + height / 2 + 3.5, name, { 'text-anchor': 'end' }))
    for (const { subject, median, low, high, count } of bars) {
      const middle = y + BAR / 2
      const tip = element('title', {}, escapeText(`${subject}: ${format(median)}`))
      parts.push(
        element(
          'rect',
          {
            ...{ x: LABEL_WIDTH, y, width: Math.max(1, x(median) - LABEL_WIDTH), height: BAR },
            ...{ fill: colourOf(subject), rx: 1.5 },
          },
          tip,
        ),
      )
      if (count > 1) parts.push(line(x(low), middle, x(high), middle, { class: 'whisker' }))
      parts.push(
        text(x(Math.max(median, high)) + 6, middle + 3.2, format(median), { class: 'value' }),
      )
      y += BAR + GAP
    }
    y += GROUP_GAP
  }
  const bottom = y - GROUP_GAP + 6
  const grid = steps.map(
    value =>
      line(x(value), 0, x(value), bottom, { class: value === 0 ? 'axis' : 'grid' }) +
      text(x(value), bottom + 15, value === 0 ? '0' : format(value), { 'text-anchor': 'middle' }),
  )
  const size = { viewBox: `0 0 ${WIDTH} ${bottom + AXIS}`, role: 'img', 'aria-label': title }
  return element('svg', size, ...grid, ...parts)
}

export function text(
  x: number,
  y: number,
  content: string,
  attributes: Readonly<Record<string, string | number>> = {},
): string {
  return element('text', { x, y, ...attributes }, escapeText(content))
}

export function line(
  x1: number,
  y1: number,
  x2: number,
  y2: number,
  attributes: Readonly<Record<string, string | number>>,
): string {
  return element('line', { x1, y1, x2, y2, ...attributes })
}
