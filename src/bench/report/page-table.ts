/** A scenario's table on the page: the cells of the terminal's, a case's lines together. Pure. */
import { METRICS } from '../metrics.ts'
import type { ScenarioResult } from '../results.ts'
import { type Cell, ratioTable } from './ratio-table.ts'
import { escapeText } from './svg.ts'

/** More have smaller letters there. */
const COLUMNS_MAX_ON_PAPER = 8

export function scenarioTable(scenario: ScenarioResult): string {
  const { head, ratios, rows } = ratioTable(scenario)
  const isRatio = (column: number): boolean => column > 0 && column <= ratios
  const heads = head.map(
    (text, column) => `<th${isRatio(column) ? ' class="ratio"' : ''}>${escapeText(text)}</th>`,
  )
  const body = rows.map((cells, index) => {
    const { case: name, metric } = scenario.rows[index]!
    const isNext = index > 0 && scenario.rows[index - 1]!.case !== name
    const label = isNext || index === 0 ? escapeText(name) : ''
    const first = `<td>${label} <span
class="metric">${escapeText(METRICS[metric].label)}</span></td>`
    const rest = cells
      .slice(1)
      .map((cell, at) => (isRatio(at + 1) ? ratioCell(cell) : valueCell(cell)))
    return `<tr${isNext ? ' class="next"' : ''}>${first}${rest.join('')}</tr>`
  })
  const width = head.length > COLUMNS_MAX_ON_PAPER ? ' class="wide"' : ''
  return `<div class="scroll"><table${width}><thead><tr>${heads.join('')}</tr></thead>
<tbody>${body.join('')}</tbody></table></div>`
}

function ratioCell({ text, tone }: Cell): string {
  return `<td class="ratio${tone === undefined ? '' : ` ${tone}`}">${escapeText(text)}</td>`
}

function valueCell({ text }: Cell): string {
  const [value = '', spread] = text.split(' ±')
  const more = spread === undefined ? '' : ` <span class="spread">±${escapeText(spread)}</span>`
  return `<td>${escapeText(value)}${more}</td>`
}
