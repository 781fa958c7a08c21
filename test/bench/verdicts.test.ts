/** The marks: their data, and what a run is held to. */
import { describe, expect, test } from 'vitest'
import { CATALOGUE } from '../../src/bench/catalogue.ts'
import { MARKS, type Mark } from '../../src/bench/marks.ts'
import { judge, thresholdText } from '../../src/bench/verdicts.ts'
import { row, scenarioOf } from './runs.ts'

const AT_LEAST: Mark = {
  what: 'serve',
  of: { scenario: 'serve-4k', metric: 'iops', subject: 'blkferry' },
  cases: ['read', 'write'],
  against: { subject: 'nbdkit' },
  direction: '>=',
  threshold: 2,
}

function served(read: readonly number[], write: readonly number[]) {
  const nbdkit = [1, 1, 1]
  return [
    scenarioOf('serve-4k', [
      row('read', 'iops', { blkferry: read, nbdkit }),
      row('write', 'iops', { blkferry: write, nbdkit }),
    ]),
  ]
}

describe('verdicts', () => {
  test('the worst case of a mark counts', () => {
    const [verdict] = judge(served([3, 3, 3], [1.5, 1.5, 1.5]), [AT_LEAST])
    expect(verdict).toMatchObject({ case: 'write', isMet: false, isClose: false })
    expect(verdict?.value.median).toBe(1.5)
  })

  test('for "at most" the worst is the largest', () => {
    const mark: Mark = { ...AT_LEAST, direction: '<=' }
    const [verdict] = judge(served([1, 1, 1], [3, 3, 3]), [mark])
    expect(verdict).toMatchObject({ case: 'write', isMet: false })
  })

  test('a threshold that is reached exactly is met', () => {
    expect(judge(served([2, 2, 2], [2, 2, 2]), [AT_LEAST])[0]?.isMet).toBe(true)
  })

  test('a range that crosses the threshold is called close', () => {
    const [verdict] = judge(served([1.9, 2.1, 2.2], [9, 9, 9]), [AT_LEAST])
    expect(verdict).toMatchObject({ case: 'read', isMet: true, isClose: true })
  })

  test('a constant and another case can be the divisor', () => {
    const scenarios = served([300, 300, 300], [150, 150, 150])
    const constant: Mark = { ...AT_LEAST, cases: ['read'], against: { constant: 100, unit: 'x' } }
    const other: Mark = {
      ...AT_LEAST,
      cases: ['write'],
      against: { subject: 'blkferry', case: 'read' },
    }
    expect(judge(scenarios, [constant, other]).map(({ value }) => value.median)).toEqual([3, 0.5])
    expect(thresholdText(constant)).toBe('≥ 2 x')
    expect(thresholdText(other)).toBe('≥ 2 × blkferry, read')
  })

  test('what was not measured has no verdict', () => {
    expect(judge([], MARKS)).toEqual([])
    expect(judge([scenarioOf('serve-4k', [])], [AT_LEAST])).toEqual([])
    const withoutPeer = [scenarioOf('serve-4k', [row('read', 'iops', { blkferry: [1] })])]
    expect(judge(withoutPeer, [AT_LEAST])).toEqual([])
  })

  test('every mark is about a scenario that exists, and no two are the same', () => {
    const names = CATALOGUE.map(({ name }) => name)
    for (const { of } of MARKS) expect(names).toContain(of.scenario)
    const texts = MARKS.map(mark => `${mark.what} ${thresholdText(mark)}`)
    expect(new Set(texts).size).toBe(MARKS.length)
  })
})
