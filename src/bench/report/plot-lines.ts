/**
 * The two plots with curves: latencies over the share of requests, and dirty bytes over time. Pure.
 */
import { formatSize } from '../../cli/units.ts'
import { formatMicroseconds } from '../metrics.ts'
import type { DirtyPlot, LatencyPlot } from '../results.ts'
import { inOrder } from '../subjects.ts'
import { colourOf, strokeOf } from './colours.ts'
import { line, text } from './plot-bars.ts'
import { element, linear, logarithmic, powersOfTen, ticks } from './svg.ts'

const WIDTH = 350
const HEIGHT = 220
const LEFT = 58
const TOP = 10
const BOTTOM = HEIGHT - 34
const RIGHT = WIDTH - 14

/** Shares with a label: the axis gives every further nine the same room, so that tails are seen. */
const SHARES = [
  [0.5, '50'],
  [0.9, '90'],
  [0.99, '99'],
  [0.999, '99.9'],
  [0.9999, '99.99'],
  [0.99999, '99.999'],
] as const

export function latencyPlot({ case: name, curves }: LatencyPlot): string {
  const subjects = inOrder(Object.keys(curves))
  const points = subjects.flatMap(subject => curves[subject]!).filter(([, us]) => us > 0)
  if (points.length === 0) return ''
  const last = Math.max(...points.map(([share]) => share))
  const x = linear([0, nines(last)], [LEFT, RIGHT])
  const decades = powersOfTen(
    Math.min(...points.map(([, us]) => us)),
    Math.max(...points.map(([, us]) => us)),
  )
  const y = logarithmic([decades[0]!, decades.at(-1)!], [BOTTOM, TOP])
  const grid = [
    ...decades.map(us => row(y(us), formatMicroseconds(us).replace(/\.0+ /, ' '))),
    ...SHARES.filter(([share]) => share <= last).map(([share, label]) =>
      column(x(nines(share)), label),
    ),
  ]
  const paths = subjects.map(subject => {
    const known = curves[subject]!.filter(([, us]) => us > 0)
    return path(
      subject,
      known,
      ([share]) => x(nines(share)),
      ([, us]) => y(us),
    )
  })
  return frame(`Latencies of ${name}`, [...grid, axes(), ...paths])
}

export function dirtyPlot({ case: name, lines }: DirtyPlot): string {
  const subjects = inOrder(Object.keys(lines))
  const points = subjects.flatMap(subject => lines[subject]!)
  if (points.length === 0) return ''
  const times = ticks(Math.max(1, ...points.map(([ms]) => ms)) / 1000, 4)
  const sizes = ticks(Math.max(1, ...points.map(([, bytes]) => bytes)), 4, 1024)
  const x = linear([0, times.at(-1)!], [LEFT, RIGHT])
  const y = linear([0, sizes.at(-1)!], [BOTTOM, TOP])
  const grid = [
    ...sizes.map(bytes => row(y(bytes), bytes === 0 ? '0' : formatSize(bytes))),
    ...times.map(seconds => column(x(seconds), seconds === 0 ? '0' : `${round(seconds)} s`)),
  ]
  const paths = subjects.map(subject =>
    path(
      subject,
      lines[subject]!,
      ([ms]) => x(ms / 1000),
      ([, bytes]) => y(bytes),
    ),
  )
  return frame(`Dirty bytes of ${name}`, [...grid, axes(), ...paths])
}

/** 0 for none, 1 for 90 %, 2 for 99 %, and so on. */
function nines(share: number): number {
  return -Math.log10(1 - share)
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}

function frame(label: string, parts: readonly string[]): string {
  const size = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label }
  return element('svg', size, ...parts)
}

function row(y: number, label: string): string {
  return (
    line(LEFT, y, RIGHT, y, { class: 'grid' }) +
    text(LEFT - 7, y + 3.2, label, { 'text-anchor': 'end' })
  )
}

function column(x: number, label: string): string {
  return (
    line(x, TOP, x, BOTTOM, { class: 'grid' }) +
    text(x, BOTTOM + 15, label, { 'text-anchor': 'middle' })
  )
}

function axes(): string {
  return (
    line(LEFT, TOP, LEFT, BOTTOM, { class: 'axis' }) +
    line(LEFT, BOTTOM, RIGHT, BOTTOM, { class: 'axis' })
  )
}

type Point = readonly [number, number]

function path(
  subject: string,
  points: readonly Point[],
  x: (point: Point) => number,
  y: (point: Point) => number,
): string {
  const { width, dash } = strokeOf(subject)
  const at = points.map(point => `${x(point).toFixed(1)},${y(point).toFixed(1)}`)
  const [alone] = points
  if (points.length === 1 && alone !== undefined) {
    return element('circle', { cx: x(alone), cy: y(alone), r: 3, fill: colourOf(subject) })
  }
  return element('polyline', {
    points: at.join(' '),
    fill: 'none',
    stroke: colourOf(subject),
    'stroke-width': width,
    'stroke-dasharray': dash,
    'stroke-linejoin': 'round',
  })
}
