/**
 * The destination's end, message by message, cut everywhere, and in every way that it can go wrong.
 */
import { describe, expect, test } from 'vitest'
import { DestinationRelay } from '../../src/migration/destination-relay.ts'
import { REPORT_FAILURE, REPORT_SUCCESS } from '../../src/migration/relay-machine.ts'
import { BANNER, GO, READY, REPORT } from '../../src/migration/xl-messages.ts'
import { FAILED, MEMORY, relayAt, textOf } from './relay-harness.ts'

type Stage = 'banner' | 'ready' | 'preparing' | 'go' | 'accepting' | 'report' | 'permission'

/** A relay that has come as far as that. */
function at(stage: Stage, size = 1000) {
  return relayAt(
    stage,
    size,
    (output: ConstructorParameters<typeof DestinationRelay>[0]) => new DestinationRelay(output),
    ({ machine, link, xl }) => ({
      banner: () => {},
      ready: () => {
        xl(BANNER)
        link(MEMORY)
      },
      preparing: () => xl(READY),
      go: () => machine.answered('prepare'),
      accepting: () => link(GO),
      report: () => machine.answered('accept'),
      permission: () => xl(FAILED),
    }),
  )
}

test('a whole migration passes everything on, whatever the bytes were cut into', () => {
  for (let size = 1; size < 130; size++) {
    const { harness, machine, xl } = at('report', size)
    xl(Uint8Array.from([...REPORT, 0]))
    machine.answered('settle')
    machine.xlEnded()
    expect(harness.said).toEqual({
      events: 'ask prepare, ask accept, ask settle, end xl, end link, finish',
      xl: textOf(MEMORY, GO),
      link: textOf(BANNER, READY, REPORT_SUCCESS),
    })
    expect([machine.hasAccepted, machine.problem]).toEqual([true, undefined])
  }
})

describe('holding', () => {
  test('ready waits for the journal, permission for its yes, and neither comes twice', () => {
    expect(at('preparing').harness.said.link).toBe(textOf(BANNER))
    expect(at('go').harness.said.link).toBe(textOf(BANNER, READY))
    const { harness, machine, link } = at('accepting')
    expect(harness.said.xl).toBe(textOf(MEMORY))
    link(GO)
    machine.answered('accept')
    link(GO)
    machine.answered('accept')
    expect(harness.said.xl).toBe(textOf(MEMORY, GO))
    expect(harness.events.filter(event => event === 'ask accept')).toHaveLength(1)
  })

  test('permission with a byte missing is none', () => {
    const { harness, machine, link } = at('go')
    link(GO.subarray(0, GO.length - 1))
    expect(harness.events).toEqual(['ask prepare'])
    machine.linkEnded()
    expect(harness.events.slice(1)).toEqual(['end link', 'end xl', 'ask refuse'])
    machine.answered('refuse')
    expect(harness.said.xl).toBe(textOf(MEMORY))
  })

  test('a failure with permission to resume goes back only when it is journalled', () => {
    const { harness, machine, xl } = at('permission')
    expect(harness.said.link).toBe(textOf(BANNER, READY))
    xl(GO)
    expect(harness.events.at(-1)).toBe('ask hand-back')
    expect(harness.said.link).toBe(textOf(BANNER, READY))
    machine.answered('hand-back')
    expect(harness.said.link).toBe(textOf(BANNER, READY, REPORT_FAILURE))
    expect(machine.hasAccepted).toBe(false)
    machine.xlEnded()
    expect(harness.events.at(-1)).toBe('finish')
  })

  test('without the journal nothing goes back', () => {
    const { harness, machine, xl } = at('permission')
    xl(GO)
    machine.failed('hand-back', new Error('EIO'))
    expect(harness.said.link).toBe(textOf(BANNER, READY))
    expect(harness.events.at(-1)).toBe('end link')
    expect(machine.hasAccepted).toBe(true)
  })
})

describe('failures before permission', () => {
  const fails: Record<string, (one: ReturnType<typeof at>) => void> = {
    'the link ends': one => one.machine.linkEnded(),
    'xl ends': one => one.machine.xlEnded(),
    'xl gives up': one => one.xl(FAILED),
  }
  for (const [name, fail] of Object.entries(fails)) {
    for (const stage of ['banner', 'ready', 'preparing', 'go'] as const) {
      if (name === 'xl gives up' && stage === 'preparing') continue
      test(`${name} while ${stage}: refused, xl loses its input and is read on`, () => {
        const one = at(stage)
        const { harness, machine } = one
        const link = harness.said.link
        fail(one)
        expect(harness.events.slice(-2)).toEqual(['end xl', 'ask refuse'])
        machine.answered('refuse')
        if (name !== 'xl ends') {
          expect(harness.events).not.toContain('finish')
          // What xl still says goes nowhere.
          one.xl(Buffer.concat([FAILED, GO]))
          machine.xlEnded()
        }
        expect(harness.events).toContain('end link')
        expect(harness.events.at(-1)).toBe('finish')
        expect(harness.said.link).toBe(link)
        expect(harness.said.xl).not.toContain(textOf(MEMORY, GO))
        expect(machine.hasAccepted).toBe(false)
      })
    }
  }

  test('a refusal that cannot be journalled ends it all the same', () => {
    const { harness, machine } = at('go')
    machine.linkEnded()
    machine.failed('refuse', new Error('EIO'))
    machine.xlEnded()
    expect(harness.events.at(-1)).toBe('finish')
    expect(machine.problem).toContain('EIO')
  })

  test('no room for what is to come: ready is not passed on', () => {
    const { harness, machine } = at('preparing')
    machine.failed('prepare', new Error('ENOSPC'))
    expect(harness.events.at(-1)).toBe('ask refuse')
    expect(harness.said.link).toBe(textOf(BANNER))
  })

  test('a source that writes out of turn, or something else, is refused', () => {
    const early = at('preparing')
    early.link(GO)
    expect(early.harness.events.at(-1)).toBe('ask refuse')
    early.machine.answered('prepare')
    expect(early.harness.said.link).toBe(textOf(BANNER))
    const wrong = at('go')
    wrong.link(Buffer.from('domain is mine'))
    expect(wrong.harness.events.at(-1)).toBe('ask refuse')
    wrong.link(GO)
    expect(wrong.harness.said.xl).toBe(textOf(MEMORY))
  })

  test('xl that does not end is let go at the deadline', () => {
    const { harness, machine } = at('go')
    machine.linkEnded()
    machine.answered('refuse')
    machine.expire()
    expect(harness.events.at(-1)).toBe('finish')
    expect(machine.problem).toContain('xl does not end')
  })
})

describe('after permission has come', () => {
  test('a yes that cannot be journalled: xl goes without, and a hand-back makes sure', () => {
    const { harness, machine, xl } = at('accepting')
    machine.failed('accept', new Error('EIO'))
    expect(harness.events.at(-1)).toBe('end xl')
    xl(Buffer.concat([FAILED, GO]))
    expect(harness.events.at(-1)).toBe('ask hand-back')
    machine.answered('hand-back')
    expect(harness.said).toMatchObject({
      xl: textOf(MEMORY),
      link: textOf(BANNER, READY, REPORT_FAILURE),
    })
  })

  test('the link may end: xl starts the guest, and that is settled', () => {
    for (const when of ['accepting', 'report'] as const) {
      const { harness, machine, xl } = at(when)
      machine.linkEnded()
      if (when === 'accepting') machine.answered('accept')
      xl(Uint8Array.from([...REPORT, 0]))
      machine.answered('settle')
      machine.xlEnded()
      expect(harness.said.xl).toBe(textOf(MEMORY, GO))
      expect(harness.said.link).not.toContain(textOf(REPORT))
      expect(harness.events).toContain('ask settle')
      expect(harness.events.at(-1)).toBe('finish')
    }
  })

  test('a success that cannot be settled is a success', () => {
    const { harness, machine, xl } = at('report')
    xl(Uint8Array.from([...REPORT, 0]))
    machine.failed('settle', new Error('EIO'))
    expect(harness.said.link).toBe(textOf(BANNER, READY, REPORT_SUCCESS))
  })

  test('xl that ends without a report, or writes nonsense: the source has to ask', () => {
    const dead = at('report')
    dead.machine.xlEnded()
    expect(dead.harness.said.link).toBe(textOf(BANNER, READY))
    expect(dead.harness.events.at(-1)).toBe('finish')
    const odd = at('report')
    odd.xl(Buffer.from('Segmentation fault'))
    expect(odd.harness.events.at(-1)).toBe('end link')
    expect(odd.machine.hasAccepted).toBe(true)
  })

  test('a guest that runs although xl had no permission is not reported', () => {
    const { harness, machine, xl } = at('accepting')
    machine.failed('accept', new Error('EIO'))
    xl(Uint8Array.from([...REPORT, 0]))
    expect(harness.said.link).toBe(textOf(BANNER, READY))
    expect(machine.problem).toContain('without permission')
  })
})
