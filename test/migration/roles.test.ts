/** Every pair of roles and every verb: what is allowed is written here a second time, by hand. */
import { expect, test } from 'vitest'
import {
  follow,
  type Holding,
  ROLE_VERBS,
  ROLES,
  type Role,
  type RoleVerb,
} from '../../src/migration/roles.ts'

const S = 'session-1'

/**
 * What each verb makes of a role that belongs to the verb's own session; every other pair is
 * forbidden.
 */
const ALLOWED: Readonly<Record<string, string>> = {
  'claim none': 'owner +1',
  'admit none': 'incoming +0 kept',
  'accept incoming': 'owner +1 kept',
  'settle owner': 'owner +0',
  'refuse incoming': 'none +0 kept',
  'hand-back owner': 'none +0 kept',
  'seal owner': 'sealed +0 kept',
  'unseal sealed': 'owner +0',
  'give-away sealed': 'given-away +0 kept',
  'take-back given-away': 'owner +2',
  'release given-away': 'none +0 kept',
  'give-up owner': 'none +0',
}

/** The operator's own steps. */
const hasNoSession = (verb: RoleVerb): boolean => verb === 'claim' || verb === 'give-up'

function step(verb: RoleVerb, holding: Holding, session: string): Holding | string {
  return follow(holding, verb, {
    ...(hasNoSession(verb) ? {} : { session }),
    ...(verb === 'admit' ? { epoch: holding.epoch } : {}),
  })
}

/** A verb that begins a session comes with a new one. */
const sessionOf = (verb: RoleVerb): string => (verb === 'admit' || verb === 'seal' ? 'new' : S)

test('every verb on every role gives what the table says, or a refusal', () => {
  let forbidden = 0
  for (const verb of ROLE_VERBS) {
    for (const role of ROLES) {
      const kept = verb === 'give-up' ? undefined : S
      const next = step(verb, { role, epoch: 5, session: kept }, sessionOf(verb))
      const expected = ALLOWED[`${verb} ${role}`]
      if (expected === undefined) {
        forbidden++
        expect([verb, role, typeof next]).toEqual([verb, role, 'string'])
        continue
      }
      expect(next).toBeTypeOf('object')
      const { role: to, epoch, session } = next as Holding
      const shown = `${to} +${epoch - 5}${session === undefined ? '' : ' kept'}`
      expect([verb, role, shown]).toEqual([verb, role, expected])
    }
  }
  expect(forbidden).toBe(ROLE_VERBS.length * ROLES.length - Object.keys(ALLOWED).length)
})

test('no single step leads between these roles, whatever the verb', () => {
  const reachable = new Set<string>()
  for (const role of ROLES) {
    for (const verb of ROLE_VERBS) {
      const next = step(verb, { role, epoch: 5, session: S }, sessionOf(verb))
      if (typeof next !== 'string') reachable.add(`${role} ${next.role}`)
    }
  }
  const forbidden: [Role, Role][] = [
    ['owner', 'given-away'],
    ['owner', 'incoming'],
    ['none', 'sealed'],
    ['none', 'given-away'],
    ['incoming', 'sealed'],
    ['incoming', 'given-away'],
    ['sealed', 'none'],
    ['sealed', 'incoming'],
    ['given-away', 'incoming'],
    ['given-away', 'sealed'],
  ]
  for (const [from, to] of forbidden) expect(reachable).not.toContain(`${from} ${to}`)
  expect(reachable.size).toBe(11)
})

test('a step of another session, or of none, is refused', () => {
  for (const verb of ROLE_VERBS) {
    for (const role of ROLES) {
      const holding: Holding = { role, epoch: 5, session: S }
      if (ALLOWED[`${verb} ${role}`] === undefined) continue
      if (hasNoSession(verb)) {
        expect(follow(holding, verb, { session: S })).toContain('takes no session')
        continue
      }
      const epoch = verb === 'admit' ? { epoch: 5 } : {}
      expect(follow(holding, verb, epoch)).toContain('needs a session')
      const wrong = sessionOf(verb) === 'new' ? S : 'other'
      expect(follow(holding, verb, { session: wrong, ...epoch })).toBeTypeOf('string')
    }
  }
})

test('a disk whose session has not settled is not given up', () => {
  const holding: Holding = { role: 'owner', epoch: 6, session: S }
  expect(follow(holding, 'give-up', {})).toContain('has not settled')
})

test('after it was settled, a disk is not handed back', () => {
  const settled: Holding = { role: 'owner', epoch: 6, session: undefined }
  expect(step('hand-back', settled, S)).toBeTypeOf('string')
  expect(step('settle', settled, S)).toBeTypeOf('string')
})

test('an old copy is not admitted', () => {
  const holding: Holding = { role: 'none', epoch: 7, session: undefined }
  expect(follow(holding, 'admit', { session: S, epoch: 6 })).toContain('an old copy')
  expect(follow(holding, 'admit', { session: S, epoch: 7 })).toBeTypeOf('object')
  for (const epoch of [0, -1, 1.5, Number.NaN]) {
    expect(follow({ ...holding, epoch: 0 }, 'admit', { session: S, epoch })).toBeTypeOf('string')
  }
  expect(follow(holding, 'admit', { session: S })).toContain('epoch')
  expect(
    follow({ ...holding, role: 'sealed', session: S }, 'unseal', { session: S, epoch: 1 }),
  ).toContain('epoch')
})

test('of two hosts that say owner, the higher epoch is the one that had it last', () => {
  const run = (start: Holding, ...verbs: RoleVerb[]): Holding =>
    verbs.reduce<Holding>((holding, verb) => step(verb, holding, S) as Holding, start)
  const source = run({ role: 'none', epoch: 0, session: undefined }, 'claim')
  const given = run(source, 'seal', 'give-away')
  const destination = run(
    { role: 'none', epoch: source.epoch, session: undefined },
    'admit',
    'accept',
  )
  expect(destination.epoch).toBeGreaterThan(given.epoch)
  expect(run(given, 'take-back').epoch).toBeGreaterThan(destination.epoch)
})
