/**
 * A run as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.
 * Says the same as the terminal, with plots beside it. Pure.
 */
import { formatDuration } from '../../cli/units.ts'
import { METRICS } from '../metrics.ts'
import type { Row, Run, ScenarioResult } from '../results.ts'
import { inOrder } from '../subjects.ts'
import { judge } from '../verdicts.ts'
import { colourOf, meaningOf } from './colours.ts'
import { marksTable } from './page-marks.ts'
import { scenarioTable } from './page-table.ts'
import { barsPlot } from './plot-bars.ts'
import { dirtyPlot, latencyPlot } from './plot-lines.ts'
import { STYLE } from './style.ts'
import { escapeText } from './svg.ts'
import { environmentSentence, noiseSentence, versionsSentence } from './text.ts'

export function pageOf(run: Run): string {
  const { environment, noise, quick, elapsedMs, startedAt, scenarios } = run
  const isNoisy = noise.complaints.length > 0
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,
initial-scale=1">
<title>blkferry beside its peers</title><style>${STYLE}</style></head><body><main>
<h1>blkferry beside its peers</h1>
<p class="lead">Served, mirrored, and handed over: every figure was measured in the same run as
that of the peers it is
divided by, one right after the other.</p>
<p class="${isNoisy ? 'noisy' : 'quiet'}">${escapeText(noiseSentence(noise))}</p>
<dl><dt>Machine</dt><dd>${escapeText(environmentSentence(environment))}</dd>
<dt>Versions</dt><dd>${escapeText(versionsSentence(environment))}</dd>
<dt>Run</dt><dd>${quick ? 'quick' : 'full'}, ${startedAt.slice(0, 16).replace('T', ' ')} UTC,
${formatDuration(elapsedMs)}</dd>
<dt>Figures</dt><dd>Medians; ± is the furthest repetition. Ratios are medians of the ratios of
neighbours in time,
in green where they speak for blkferry and in red where they speak for the peer.</dd>
<dt>Who</dt><dd class="who">${who(scenarios)}</dd></dl>
${marksTable(judge(scenarios))}
${scenarios.map(scenarioSection).join('\n')}
<footer>Made by scripts/bench. What each scenario measures, and what it does not, is said in
docs/BENCHMARKING.md.</footer>
</main></body></html>
`
}

function scenarioSection(scenario: ScenarioResult): string {
  const { name, title, shows, doesNotShow, notes, fault, rows } = scenario
  const heading = `<h2>${escapeText(title)}<code>${name}</code></h2>`
  const says = [...notes, ...(fault === null ? [] : [`Not complete: ${fault}`])]
  return `<section id="${name}">${heading}<p>${escapeText(shows)}</p>
${rows.length === 0 ? '' : legend(scenario) + plots(scenario) + scenarioTable(scenario)}
${says.map(note => `<p>${escapeText(note)}</p>`).join('\n')}
<p class="shows-not"><b>Does not show:</b> ${escapeText(doesNotShow)}</p></section>`
}

function legend({ rows }: ScenarioResult): string {
  const subjects = inOrder(rows.flatMap(({ samples }) => Object.keys(samples)))
  const items = subjects.map(
    name => `<span><i style="background:${colourOf(name)}"></i>${escapeText(name)}</span>`,
  )
  return `<div class="legend">${items.join('')}</div>`
}

function who(scenarios: readonly ScenarioResult[]): string {
  const rows = scenarios.flatMap(scenario => scenario.rows)
  const subjects = inOrder(rows.flatMap(({ samples }) => Object.keys(samples)))
  const items = subjects.map(
    name =>
      `<span><i style="background:${colourOf(name)}"></i><b>${escapeText(name)}</b> ` +
      `${escapeText(meaningOf(name))}</span>`,
  )
  return items.join('')
}

function plots({ rows, plotted, latencies, dirty }: ScenarioResult): string {
  const bars = rows.filter(({ metric }) => metric === plotted)
  const parts = [barsFigure(bars)]
  const small = [
    ...dirty.map(plot => figure(`Dirty bytes over time: ${plot.case}`, dirtyPlot(plot))),
    ...latencies.map(plot => figure(`Latency by percentile: ${plot.case}`, latencyPlot(plot))),
  ]
  if (small.length > 0) parts.push(`<div class="plots">${small.join('')}</div>`)
  return parts.join('\n')
}

function barsFigure(rows: readonly Row[]): string {
  const metric = rows[0]?.metric
  if (metric === undefined) return ''
  const { label, better } = METRICS[metric]
  return figure(`${label}, ${better} is better`, barsPlot(rows, label))
}

function figure(caption: string, svg: string): string {
  return svg === '' ? '' : `<figure><figcaption>${escapeText(caption)}</figcaption>${svg}</figure>`
}
