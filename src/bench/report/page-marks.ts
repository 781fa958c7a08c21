/**
 * The marks on the page: each with a small picture of how far the value is from its threshold.
 * Pure.
 */
import { thresholdText, type Verdict } from '../verdicts.ts'
import { element, escapeText, linear } from './svg.ts'
import { formatPlain } from './text.ts'

const WIDTH = 150
const HEIGHT = 16
/** The picture's ends: an eighth of the threshold and eight times as much. */
const OCTAVES = 3

export function marksTable(verdicts: readonly Verdict[]): string {
  if (verdicts.length === 0) return ''
  const met = verdicts.filter(({ isMet }) => isMet).length
  return `<section id="marks"><h2>Marks</h2>
<p>${met} of ${verdicts.length} marks that this run measured are met. The worst case of each
counts; the range is over
the repetitions, and a mark is close where it crosses the threshold. In the picture the line is
the threshold, a
step is a factor of two, and better is to the right.</p>
<div class="scroll"><table><thead><tr><th>mark</th><th>value</th><th>range</th>
<th>threshold</th><th></th><th></th></tr></thead>
<tbody>${verdicts.map(markRow).join('')}</tbody></table></div></section>`
}

function markRow(verdict: Verdict): string {
  const { mark, case: name, value, isMet, isClose } = verdict
  const tone = isMet ? 'good' : 'bad'
  const range = value.count > 1 ? `${formatPlain(value.low)} to ${formatPlain(value.high)}` : ''
  const word = `${isMet ? 'met' : 'not met'}${isClose ? ', close' : ''}`
  return `<tr><td>${escapeText(mark.what)} <span class="metric">${escapeText(name)}</span></td>
<td class="ratio ${tone}">${formatPlain(value.median)}</td><td>${range}</td>
<td>${escapeText(thresholdText(mark))}</td>
<td class="mark-bar">${markPicture(verdict)}</td><td class="tag ${tone}">${word}</td></tr>`
}

/** Better is to the right, whatever the direction of the mark. */
export function markPicture({ mark, value, isMet }: Verdict): string {
  const x = linear([-OCTAVES, OCTAVES], [4, WIDTH - 4])
  const place = (each: number): number => {
    const octaves = Math.log2(each / mark.threshold) * (mark.direction === '>=' ? 1 : -1)
    return x(Math.min(OCTAVES, Math.max(-OCTAVES, Number.isNaN(octaves) ? -OCTAVES : octaves)))
  }
  const middle = HEIGHT / 2
  const colour = isMet ? 'var(--good)' : 'var(--bad)'
  return element(
    'svg',
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, 'aria-hidden': 'true' },
    element('line', { x1: 0, y1: middle, x2: WIDTH, y2: middle, class: 'grid' }),
    ...[-2, -1, 1, 2].map(step =>
      element('line', { x1: x(step), y1: middle - 2, x2: x(step), y2: middle + 2, class: 'grid' }),
    ),
    element('line', { x1: x(0), y1: 1, x2: x(0), y2: HEIGHT - 1, class: 'axis' }),
    element('line', {
      ...{ x1: place(value.low), y1: middle, x2: place(value.high), y2: middle },
      ...{ stroke: colour, 'stroke-width': 2.5, opacity: 0.45 },
    }),
    element('circle', { cx: place(value.median), cy: middle, r: 4, fill: colour }),
  )
}
