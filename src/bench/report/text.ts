/** A run as text for a terminal. Pure. */
import { formatDuration, formatSize } from '../../cli/units.ts'
import { type Change, TOLERANCE } from '../compare.ts'
import type { Environment } from '../environment.ts'
import { METRICS } from '../metrics.ts'
import type { Noise } from '../noise.ts'
import type { Run, ScenarioResult } from '../results.ts'
import { thresholdText, type Verdict } from '../verdicts.ts'
import { formatRatio, ratioTable } from './ratio-table.ts'
import { textTable, wrap } from './text-table.ts'

export function scenarioText(scenario: ScenarioResult): string {
  const { name, title, shows, doesNotShow, notes, fault, rows, repetitions } = scenario
  const { head, rows: cells } = ratioTable(scenario)
  const parts = [`${title} (${name}, medians of ${repetitions})`, wrap(shows)]
  if (rows.length > 0) {
    parts.push(
      textTable(
        head,
        cells.map(row => row.map(({ text }) => text)),
      ),
    )
  }
  if (fault !== null) parts.push(wrap(`Not complete: ${fault}`))
  for (const note of notes) parts.push(wrap(note))
  parts.push(wrap(`Does not show: ${doesNotShow}`))
  return `${parts.join('\n\n')}\n`
}

export function environmentText({ environment, noise, quick, elapsedMs }: Run): string {
  return [
    wrap(environmentSentence(environment)),
    wrap(versionsSentence(environment)),
    wrap(noiseSentence(noise)),
    `${quick ? 'A quick run' : 'A full run'} of ${formatDuration(elapsedMs)}.`,
  ].join('\n')
}

export function environmentSentence(environment: Environment): string {
  const { cpu, cores, memoryBytes, kernel, engine, loadAverage } = environment
  const load = loadAverage.map(value => value.toFixed(2)).join(' ')
  const chosen = engine === null ? '' : `, engine ${engine}`
  return (
    `${cpu}, ${cores} cores, ${formatSize(memoryBytes)}, Linux ${kernel}${chosen}, ` +
    `load average ${load} before the run.`
  )
}

export function versionsSentence({ versions }: Environment): string {
  return `${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}.`
}

export function noiseSentence({ complaints, slowdown }: Noise): string {
  if (complaints.length === 0) {
    return (
      `The machine was quiet: a fixed piece of work took at most ${slowdown.toFixed(2)} ` +
      'times its best in three quarters of all tries.'
    )
  }
  return (
    `The machine was NOISY: ${complaints.join('; ')}. Trust the ratios ` +
    'little and the absolute numbers not at all.'
  )
}

export function marksText(verdicts: readonly Verdict[]): string {
  if (verdicts.length === 0) return 'No mark was measured.'
  const rows = verdicts.map(verdict => {
    const { mark, value, case: name, isMet, isClose } = verdict
    return [
      `${mark.what} (${name})`,
      valueText(verdict),
      value.count > 1 ? `${formatPlain(value.low)} to ${formatPlain(value.high)}` : '',
      thresholdText(mark),
      `${isMet ? 'met' : 'NOT MET'}${isClose ? ', close' : ''}`,
    ]
  })
  const met = verdicts.filter(({ isMet }) => isMet).length
  const table = textTable(['mark', 'value', 'range', 'threshold', ''], rows)
  return (
    `${table}\n\n${met} of ${verdicts.length} marks met; the worst case ` +
    'of each counts. Close means that the range crosses the threshold.'
  )
}

export function valueText({ value }: Verdict): string {
  return formatPlain(value.median)
}

export function formatPlain(value: number): string {
  return formatRatio(value).slice(0, -1)
}

/** Only what has changed, and how much has not. */
export function comparisonText(changes: readonly Change[]): string {
  const news = changes.filter(({ verdict }) => verdict !== 'same')
  const rows = news.map(change => [
    `${change.scenario}: ${change.case}, ${METRICS[change.metric].label}`,
    change.what,
    formatPlain(change.before.median),
    formatPlain(change.after.median),
    `${change.verdict} ${formatRatio(change.factor)}`,
  ])
  const same = changes.length - news.length
  const summary =
    `${same} of ${changes.length} figures are as before (within ${TOLERANCE * 100} ` +
    '%, or within the spread of both runs).'
  if (rows.length === 0) return summary
  return `${textTable(['figure', 'of', 'before', 'now', ''], rows)}\n\n${summary}`
}
