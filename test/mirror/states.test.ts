import { describe, expect, it } from 'vitest'
import {
  isAllowed,
  mayFollow,
  STATES,
  type State,
  VERBS,
  type Verb,
} from '../../src/mirror/states.ts'

/** All that may happen, written down once more; every pair that is not here is forbidden. */
const TRANSITIONS = [
  'created waiting',
  'created concluded',
  'waiting running',
  'waiting concluded',
  'running ready',
  'running waiting',
  'running concluded',
  'ready running',
  'ready waiting',
  'ready switchover',
  'ready concluded',
  'switchover running',
  'switchover waiting',
  'switchover concluded',
]
const ALLOWED = [
  'start created',
  ...['created', 'running', 'ready', 'waiting', 'switchover'].flatMap(state => [
    `set ${state}`,
    `cancel ${state}`,
  ]),
  'complete ready',
  'resume concluded',
]
const pairs = STATES.flatMap(from => STATES.map((to): [State, State] => [from, to]))
const verbs = VERBS.flatMap(verb => STATES.map((state): [Verb, State] => [verb, state]))

describe('the states of a job', () => {
  it.each(pairs)('%s, then %s', (from, to) => {
    expect(mayFollow(from, to)).toBe(TRANSITIONS.includes(`${from} ${to}`))
  })

  it.each(verbs)('%s while %s', (verb, state) => {
    expect(isAllowed(verb, state)).toBe(ALLOWED.includes(`${verb} ${state}`))
  })

  it('lead to the end from everywhere', () => {
    for (const state of STATES) {
      expect(state === 'concluded' || mayFollow(state, 'concluded'), state).toBe(true)
    }
  })
})
