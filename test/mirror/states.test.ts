import { expect, it } from 'vitest'
import { isAllowed, mayFollow, STATES, VERBS } from '../../src/mirror/states.ts'

it('every pair of states may follow each other or not as it is written here', () => {
  const rows = STATES.map(from => STATES.map(to => (mayFollow(from, to) ? 'x' : '-')).join(' '))
  expect(STATES).toEqual(['created', 'running', 'ready', 'waiting', 'switchover', 'concluded'])
  expect(rows).toEqual([
    '- - - x - x',
    '- - x x - x',
    '- x - x x x',
    '- x - - - x',
    '- x - x - x',
    '- - - - - -',
  ])
})

it('every verb is allowed or not in every state as it is written here', () => {
  const rows = VERBS.map(verb => STATES.map(state => (isAllowed(verb, state) ? 'x' : '-')).join(''))
  expect(Object.fromEntries(VERBS.map((verb, index) => [verb, rows[index]]))).toEqual({
    start: 'x-----',
    set: 'xxxxx-',
    cancel: 'xxxxx-',
    complete: '--x---',
    resume: '-----x',
  })
})

it('from every state the end can be reached, and a job that ended stays so', () => {
  for (const from of STATES) expect(mayFollow(from, 'concluded')).toBe(from !== 'concluded')
  for (const to of STATES) expect(mayFollow('concluded', to)).toBe(false)
})
