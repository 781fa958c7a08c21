/** The source's end after permission has left: what xl hears is true, or nothing. */
import { describe, expect, test } from 'vitest'
import { REPORT_FAILURE, REPORT_SUCCESS } from '../../src/migration/relay-machine.ts'
import type { SourceQuestion } from '../../src/migration/source-relay.ts'
import { BANNER, GO, READY, REPORT } from '../../src/migration/xl-messages.ts'
import { FAILED, SUCCEEDED, textOf } from './relay-harness.ts'
import { at } from './source-relay-stages.ts'

describe('in doubt, after permission has left', () => {
  const lose: Record<string, (one: ReturnType<typeof at>) => void> = {
    'no report': one => one.machine.linkEnded(),
    'half a report': one => {
      one.link(REPORT)
      one.machine.linkEnded()
    },
    nonsense: one => one.link(Buffer.from('Killed\n')),
    'a failure without permission to resume': one => {
      one.link(FAILED)
      one.machine.linkEnded()
    },
    'a failure with half a permission': one => {
      one.link(FAILED)
      one.link(GO.subarray(0, 20))
      one.machine.linkEnded()
    },
  }
  for (const [name, fail] of Object.entries(lose)) {
    test(`${name}: the owner is asked, and xl hears what is true, or nothing`, () => {
      const ends = {
        'destination-owns': [REPORT_SUCCESS],
        'source-owns': [REPORT_FAILURE],
        undefined: [],
      }
      for (const [outcome, messages] of Object.entries(ends)) {
        const one = at('report')
        fail(one)
        expect(one.harness.events.at(-1)).toBe('ask resolve')
        expect(one.machine.outcome).toBe('undefined')
        one.machine.answered('resolve', outcome)
        const next: SourceQuestion = outcome === 'source-owns' ? 'take-back' : 'confirm'
        if (outcome !== 'undefined') one.machine.answered(next)
        expect(one.harness.said.xl).toBe(textOf(BANNER, READY, ...messages))
        expect(one.harness.events.at(-1)).toBe('finish')
        expect(one.machine.outcome).toBe(outcome)
      }
    })
  }

  test('an owner that cannot tell leaves it undefined', () => {
    const { harness, machine } = at('report')
    machine.linkEnded()
    machine.failed('resolve', new Error('no route to host'))
    expect(harness.said.xl).toBe(textOf(BANNER, READY))
    expect([machine.outcome, harness.events.at(-1)]).toEqual(['undefined', 'finish'])
  })

  test('a fence that fails does not turn a success into something else', () => {
    const { harness, machine, link } = at('report')
    link(SUCCEEDED)
    machine.failed('confirm', new Error('EBUSY'))
    expect(harness.said.xl).toBe(textOf(BANNER, READY, REPORT_SUCCESS))
    expect(machine.outcome).toBe('destination-owns')
  })

  test('xl that dies then is done without', () => {
    const { harness, machine, link } = at('report')
    machine.xlEnded()
    link(SUCCEEDED)
    machine.answered('confirm')
    expect([machine.outcome, harness.events.at(-1)]).toEqual(['destination-owns', 'finish'])
  })
})
