/** All pairs of phases, all failures: what is expected is written here a second time, by hand. */
import { describe, expect, test } from 'vitest'
import {
  FAILURES,
  isCancellable,
  isFinal,
  mayFollow,
  OUTCOMES,
  outcomeOf,
  PHASES,
  type Phase,
  UNDOS,
  undoOf,
  WORDS,
} from '../../src/migration/phases.ts'

const LIVE: readonly Phase[] = ['setup', 'active', 'ready', 'switchover']

test('every pair of phases is allowed or forbidden as drawn', () => {
  const allowed = new Set([
    'setup active',
    'active ready',
    'ready active',
    'ready switchover',
    'switchover completed',
    'cancelling cancelled',
    'cancelling failed',
    ...LIVE.flatMap(phase => [`${phase} cancelling`, `${phase} failed`]),
  ])
  for (const from of PHASES) {
    for (const to of PHASES) {
      expect([from, to, mayFollow(from, to)]).toEqual([from, to, allowed.has(`${from} ${to}`)])
    }
  }
})

test(
  'completed, cancelled and failed are final, ' + 'and every other phase leads to one of them',
  () => {
    expect(PHASES.filter(isFinal)).toEqual(['completed', 'cancelled', 'failed'])
    for (const phase of PHASES) {
      if (!isFinal(phase)) expect(mayFollow(phase, 'failed')).toBe(true)
    }
  },
)

test('cancelling is possible in every live phase, and never past the point of no return', () => {
  expect(PHASES.filter(phase => isCancellable(phase, false))).toEqual(LIVE)
  expect(PHASES.filter(phase => isCancellable(phase, true))).toEqual([])
})

describe('outcomes', () => {
  test('before the point of no return the source owns, whatever anybody says', () => {
    for (const phase of PHASES) {
      if (phase === 'completed') continue
      for (const word of WORDS) expect(outcomeOf(phase, false, word)).toBe('source-owns')
    }
  })

  test('after it the word of the destination decides, and without one it is undefined', () => {
    const expected = {
      nothing: 'undefined',
      withheld: 'source-owns',
      accepted: 'destination-owns',
      refused: 'source-owns',
      'handed-back': 'source-owns',
    } as const
    for (const word of WORDS) expect(outcomeOf('switchover', true, word)).toBe(expected[word])
  })

  test('once completed the destination owns', () => {
    for (const word of WORDS) expect(outcomeOf('completed', true, word)).toBe('destination-owns')
  })
})

describe('failures', () => {
  const BACK = 'take back, unseal, swap back, end session'
  const EXPECTED: readonly (readonly [string, string, string, string])[] = [
    ['F1', 'setup', 'source-owns', 'end session'],
    ['F1', 'active', 'source-owns', 'swap back, end session'],
    ['F2', 'ready', 'source-owns', 'end memory migration, swap back, end session'],
    ['F3', 'switchover', 'source-owns', 'unseal, swap back, end session'],
    ['F4', 'switchover', 'source-owns', 'unseal, swap back, end session'],
    ['F5', 'switchover', 'source-owns', 'unseal, swap back, end session'],
    ['F5', 'switchover', 'source-owns', BACK],
    ['F6', 'switchover', 'undefined', 'ask the destination'],
    ['F6', 'switchover', 'destination-owns', 'fence, destroy the old domain, end session'],
    ['F6', 'switchover', 'source-owns', BACK],
    ['F7', 'switchover', 'source-owns', BACK],
    ['F8', 'active', 'source-owns', 'swap back, end session'],
    ['F8', 'ready', 'source-owns', 'end memory migration, swap back, end session'],
    ['F9', 'setup', 'source-owns', 'end session'],
    ['F9', 'active', 'source-owns', 'swap back, end session'],
    ['F9', 'ready', 'source-owns', 'end memory migration, swap back, end session'],
    ['F9', 'switchover', 'source-owns', 'unseal, swap back, end session'],
    ['F9', 'switchover', 'undefined', 'ask the destination'],
    ['F10', 'switchover', 'destination-owns', 'fence, destroy the old domain, end session'],
    ['F10', 'completed', 'destination-owns', 'nothing'],
    ['F11', 'active', 'source-owns', 'swap back, end session'],
    ['F11', 'ready', 'source-owns', 'end memory migration, swap back, end session'],
  ]

  test('each has exactly one outcome and one undo in each of its phases', () => {
    const rows = FAILURES.flatMap(failure =>
      failure.phases.map(phase => [
        failure.case,
        phase,
        outcomeOf(phase, failure.isGivenAway, failure.word),
        undoOf(phase, failure.isGivenAway, failure.word),
      ]),
    )
    expect(rows).toEqual(EXPECTED)
  })

  test('every outcome, every word and every undo occurs, and every case from first to last', () => {
    expect(new Set(EXPECTED.map(([, , outcome]) => outcome))).toEqual(new Set(OUTCOMES))
    expect(new Set(FAILURES.map(({ word }) => word))).toEqual(new Set(WORDS))
    expect(new Set(EXPECTED.map(([, , , undo]) => undo))).toEqual(new Set(UNDOS))
    const cases = Array.from({ length: 11 }, (_, index) => `F${index + 1}`)
    expect([...new Set(FAILURES.map(failure => failure.case))]).toEqual(cases)
  })

  test('undefined is only ever the end of a switchover past the point of no return', () => {
    for (const phase of PHASES) {
      for (const isGivenAway of [false, true]) {
        for (const word of WORDS) {
          if (outcomeOf(phase, isGivenAway, word) !== 'undefined') continue
          expect([isGivenAway, word]).toEqual([true, 'nothing'])
        }
      }
    }
  })
})
