/** Holds a run against the marks. Pure. */
import { MARKS, type Mark } from './marks.ts'
import { findRow, type ScenarioResult } from './results.ts'
import { ratio, type Summary } from './statistics.ts'

export interface Verdict {
  readonly mark: Mark
  /** The case that is furthest from the mark, or past it by least. */
  readonly case: string
  /** Median and range over the repetitions of that case. */
  readonly value: Summary
  readonly isMet: boolean
  /** The range crosses the threshold: the next run may say otherwise. */
  readonly isClose: boolean
}

/** The marks that this run has measured, in their order. */
export function judge(
  scenarios: readonly ScenarioResult[],
  marks: readonly Mark[] = MARKS,
): Verdict[] {
  return marks.map(mark => judgeOne(scenarios, mark)).filter(verdict => verdict !== undefined)
}

function judgeOne(scenarios: readonly ScenarioResult[], mark: Mark): Verdict | undefined {
  const verdicts = mark.cases.flatMap(name => {
    const value = measuredValue(scenarios, mark, name)
    if (value === undefined) return []
    const isMet = meets(mark, value.median)
    const isClose = meets(mark, value.low) !== meets(mark, value.high)
    return [{ mark, case: name, value, isMet, isClose }]
  })
  const sign = mark.direction === '>=' ? 1 : -1
  return verdicts.sort((a, b) => sign * (a.value.median - b.value.median))[0]
}

function measuredValue(
  scenarios: readonly ScenarioResult[],
  { of, against }: Mark,
  name: string,
): Summary | undefined {
  const at = { scenario: of.scenario, metric: of.metric }
  const row = findRow(scenarios, { ...at, case: name })
  const samples = row?.samples[of.subject]
  if ('constant' in against)
    return ratio(
      samples,
      samples?.map(() => against.constant),
    )
  const other = 'case' in against ? findRow(scenarios, { ...at, case: against.case }) : row
  return ratio(samples, other?.samples[against.subject])
}

function meets({ direction, threshold }: Mark, value: number): boolean {
  return direction === '>=' ? value >= threshold : value <= threshold
}

/** `>= 2.5 × qemu-nbd`, `<= 120 MiB`. */
export function thresholdText({ direction, threshold, against }: Mark): string {
  const sign = direction === '>=' ? '≥' : '≤'
  const subject = 'constant' in against ? against.unit : `× ${against.subject}`
  const where = 'case' in against ? `, ${against.case}` : ''
  return `${sign} ${threshold} ${subject}${where}`
}
