/** Tables, plots and the page: what they must hold, and that they stay well-formed. */
import { describe, expect, test } from 'vitest'
import { judgeNoise } from '../../src/bench/noise.ts'
import { pageOf } from '../../src/bench/report/page.ts'
import { markPicture } from '../../src/bench/report/page-marks.ts'
import { barsPlot } from '../../src/bench/report/plot-bars.ts'
import { dirtyPlot, latencyPlot } from '../../src/bench/report/plot-lines.ts'
import { formatRatio, ratioTable } from '../../src/bench/report/ratio-table.ts'
import { element, powersOfTen, ticks } from '../../src/bench/report/svg.ts'
import { marksText, noiseSentence, scenarioText } from '../../src/bench/report/text.ts'
import { textTable } from '../../src/bench/report/text-table.ts'
import { judge } from '../../src/bench/verdicts.ts'
import { row, runOf, scenarioOf } from './runs.ts'

const SCENARIO = scenarioOf('serve-4k', [
  row('read QD32', 'iops', {
    'bare file': [400_000],
    'qemu-nbd': [50_000, 50_000, 50_000],
    blkferry: [150_000, 160_000, 170_000],
  }),
  row('read QD32', 'p50', { blkferry: [100], 'qemu-nbd': [50] }),
])

/** Throws unless every element that is opened is closed, in order. */
function checkWellFormed(markup: string): void {
  const open: string[] = []
  for (const [, closing, name = '', rest = ''] of markup.matchAll(
    /<(\/?)([a-z][a-z0-9]*)((?:\s[^<>]*)?)>/gi,
  )) {
    if (closing === '/') expect(open.pop()).toBe(name)
    else if (!rest.endsWith('/') && name !== 'meta') open.push(name)
  }
  expect(open).toEqual([])
}

describe('tables', () => {
  test('columns are as wide as their widest cell, and numbers stand to the right', () => {
    expect(
      textTable(
        ['case', 'n'],
        [
          ['a', '10'],
          ['long', '5'],
        ],
      ),
    ).toBe(['case   n', '────  ──', 'a     10', 'long   5'].join('\n'))
  })

  test('ratios come first, in the order of the subjects, then medians with their spread', () => {
    const { head, ratios, rows } = ratioTable(SCENARIO)
    expect(head).toEqual(['case', '÷ qemu-nbd', '÷ bare file', 'blkferry', 'qemu-nbd', 'bare file'])
    expect(ratios).toBe(2)
    expect(rows[0]?.map(({ text }) => text)).toEqual([
      'read QD32, requests/s',
      '3.20×',
      '0.40×',
      '160 k ±6%',
      '50.0 k ±0%',
      '400 k',
    ])
  })

  test('a ratio is good or bad by what the metric wants, and the limit is neither', () => {
    const { rows } = ratioTable(SCENARIO)
    expect(rows.map(cells => cells[1]?.tone)).toEqual(['good', 'bad'])
    expect(rows[0]?.[2]).not.toHaveProperty('tone')
  })

  test('ratios keep the digits that matter', () => {
    expect([0.0123, 0.5, 2.345, 12.34, 345.6].map(formatRatio)).toEqual([
      '0.012×',
      '0.50×',
      '2.35×',
      '12.3×',
      '346×',
    ])
  })

  test('under a scenario stands what it does not show, and why it is not complete', () => {
    const text = scenarioText({ ...SCENARIO, fault: 'the copy is wrong' })
    expect(text).toContain('Does not show: What it <does> not show.')
    expect(text).toContain('Not complete: the copy is wrong')
  })

  test('each mark says its value, its threshold, and whether it is met', () => {
    const text = marksText(judge([SCENARIO]))
    expect(text).toMatch(
      /serve 4k QD32 \(read QD32\) +3\.20 +3\.00 to 3\.40 +≥ 2\.5 × qemu-nbd +met/,
    )
    expect(text).toContain('1 of 1 marks met')
  })

  test('a noisy machine is said to be noisy', () => {
    expect(noiseSentence(judgeNoise([5, 5, 5, 5, 5, 5], 0.1))).toContain('was quiet')
    expect(noiseSentence(judgeNoise([5, 5, 9, 9, 9, 9], 0.1))).toContain('NOISY')
    expect(noiseSentence(judgeNoise([5, 5, 5, 5, 5, 5], 2))).toContain('load average was 2.00')
  })
})

describe('plots', () => {
  test('text in an element is escaped where it is an attribute', () => {
    expect(element('a', { b: '"<&>"' })).toBe('<a b="&quot;&lt;&amp;&gt;&quot;"/>')
  })

  test('axes end at or beyond the data, in round steps', () => {
    expect(ticks(97, 5)).toEqual([0, 20, 40, 60, 80, 100])
    expect(ticks(3 * 2 ** 30, 4, 1024).at(-1)).toBeGreaterThanOrEqual(3 * 2 ** 30)
    expect(ticks(0, 4)).toEqual([0])
    expect(powersOfTen(5, 5000)).toEqual([1, 10, 100, 1000, 10_000])
    expect(powersOfTen(10, 10)).toEqual([10, 100])
  })

  test('a bar is as long as its value, and says it', () => {
    const svg = barsPlot([row('a', 'iops', { blkferry: [50], nbdkit: [100] })], 'requests')
    const widths = [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map(([, width]) =>
      Number(width),
    )
    expect(widths).toHaveLength(2)
    expect(widths[1]! / widths[0]!).toBeCloseTo(2, 2)
    expect(svg).toContain('>50.0<')
    checkWellFormed(svg)
  })

  test('each subject has a curve of its latencies, rising to the right', () => {
    const points = [
      [0.5, 10],
      [0.99, 1000],
    ] as const
    const svg = latencyPlot({ case: 'c', curves: { blkferry: points, nbdkit: points } })
    const lines = [...svg.matchAll(/points="([^"]+)"/g)].map(([, list]) => list!.split(' '))
    expect(lines).toHaveLength(2)
    const [[x1, y1], [x2, y2]] = lines[0]!.map(at => at.split(',').map(Number)) as [
      [number, number],
      [number, number],
    ]
    expect(x2).toBeGreaterThan(x1)
    // Down is up in SVG.
    expect(y2).toBeLessThan(y1)
    checkWellFormed(svg)
  })

  test('nothing measured draws nothing', () => {
    expect(barsPlot([], 'x')).toBe('')
    expect(latencyPlot({ case: 'c', curves: {} })).toBe('')
    expect(dirtyPlot({ case: 'c', lines: {} })).toBe('')
  })

  test('the picture of a mark has better on the right, whatever its direction', () => {
    const verdicts = judge([
      SCENARIO,
      scenarioOf('scale-memory', [row('RSS, 1 GiB', 'bytes', { blkferry: [60 * 2 ** 20] })]),
    ])
    expect(verdicts).toHaveLength(2)
    for (const verdict of verdicts) {
      const at = Number(/<circle cx="([\d.]+)"/.exec(markPicture(verdict))?.[1])
      expect(at).toBeGreaterThan(75)
    }
  })
})

describe('page', () => {
  const page = pageOf(
    runOf([
      {
        ...SCENARIO,
        latencies: [{ case: 'read QD32', curves: { blkferry: [[0.5, 10]] } }],
        dirty: [
          {
            case: 'read QD32',
            lines: {
              blkferry: [
                [0, 100],
                [10, 0],
              ],
            },
          },
        ],
      },
    ]),
  )

  test('is well-formed and complete in itself', () => {
    checkWellFormed(page.replace(/<style>[\s\S]*<\/style>/, '').replace('<!doctype html>', ''))
    expect(page).not.toMatch(/<script|<link|<img|src=|https?:/)
  })

  test('says all that the terminal says', () => {
    for (const said of [
      '3.20×',
      '160 k',
      '±6%',
      'uring',
      '6.1.0',
      'was quiet',
      '≥ 2.5 × qemu-nbd',
    ]) {
      expect(page).toContain(said)
    }
    expect(page).toContain('What it &lt;does&gt; not show.')
  })
})
