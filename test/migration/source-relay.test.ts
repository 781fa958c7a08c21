/** The source's end, message by message, cut everywhere, and in every way that it can go wrong. */
import { describe, expect, test } from 'vitest'
import { REPORT_FAILURE, REPORT_SUCCESS } from '../../src/migration/relay-machine.ts'
import { BANNER, GO, READY } from '../../src/migration/xl-messages.ts'
import { inPieces, MEMORY, SUCCEEDED, textOf } from './relay-harness.ts'
import { at, STAGES } from './source-relay-stages.ts'

test('a whole migration passes everything on, whatever the bytes were cut into', () => {
  for (let size = 1; size < 130; size++) {
    const { harness, machine, link } = at('report', size)
    link(SUCCEEDED)
    machine.answered('confirm')
    expect(harness.said).toEqual({
      events: 'ask seal, ask give-away, ask confirm, end link, end xl, finish',
      xl: textOf(BANNER, READY, REPORT_SUCCESS),
      link: textOf(MEMORY, GO),
    })
    expect([machine.outcome, machine.problem]).toEqual(['destination-owns', undefined])
  }
})

test('cut in two at every byte, what has come so far decides what was passed on', () => {
  const { link } = at('ready')
  expect(link).toBeTypeOf('function')
  for (let cut = 1; cut < READY.length; cut++) {
    const { harness } = at('ready')
    harness.machine.fromLink(READY.subarray(0, cut))
    expect(harness.said.events).toBe('')
    expect(harness.said.xl).toBe(textOf(BANNER))
    harness.machine.fromLink(READY.subarray(cut))
    expect(harness.said.events).toBe('ask seal')
  }
  for (let cut = 1; cut < GO.length; cut++) {
    const { harness } = at('go')
    harness.machine.fromXl(GO.subarray(0, cut))
    expect(harness.said).toMatchObject({ events: 'ask seal', link: textOf(MEMORY) })
    harness.machine.fromXl(GO.subarray(cut))
    expect(harness.said).toMatchObject({ events: 'ask seal, ask give-away', link: textOf(MEMORY) })
  }
})

describe('holding', () => {
  test('ready is held until the seal, and permission until it is journalled', () => {
    expect(at('sealing').harness.said.xl).toBe(textOf(BANNER))
    expect(at('go').harness.said.xl).toBe(textOf(BANNER, READY))
    const { harness, machine } = at('giving')
    expect(harness.said.link).toBe(textOf(MEMORY))
    expect(machine.isGoForwarded).toBe(false)
    machine.answered('give-away')
    expect(harness.said.link).toBe(textOf(MEMORY, GO))
    expect([machine.isGoForwarded, machine.outcome]).toEqual([true, 'undefined'])
  })

  test('permission leaves once, however often it is written and answered', () => {
    const { harness, machine, xl } = at('giving')
    xl(GO)
    machine.answered('give-away')
    xl(GO)
    xl(Buffer.concat([GO, GO]))
    machine.answered('give-away')
    machine.answered('seal')
    expect(harness.said.link).toBe(textOf(MEMORY, GO))
    expect(harness.said.events).toBe('ask seal, ask give-away')
  })

  test('permission in one piece with what is behind it leaves alone', () => {
    const { harness, machine } = at('go')
    machine.fromXl(Buffer.concat([GO, Buffer.from('more')]))
    machine.answered('give-away')
    expect(harness.said.link).toBe(textOf(MEMORY, GO))
  })

  test('a report of failure is held until permission to resume, and for the journal', () => {
    const { harness, machine, link } = at('permission')
    expect(harness.said.xl).toBe(textOf(BANNER, READY))
    link(GO)
    expect(harness.said.events).toContain('ask take-back')
    expect(harness.said.xl).toBe(textOf(BANNER, READY))
    machine.answered('take-back')
    expect(harness.said.xl).toBe(textOf(BANNER, READY, REPORT_FAILURE))
    expect(machine.outcome).toBe('source-owns')
  })
})

/** What ends it, at each stage. */
const FAILURES: Readonly<Record<string, (one: ReturnType<typeof at>) => void>> = {
  'the link ends': one => one.machine.linkEnded(),
  'the destination writes nonsense': one => one.link(Buffer.from('Welcome!\n')),
  'the destination repeats its banner': one => one.link(BANNER),
}

describe('failures before permission has left', () => {
  for (const [name, fail] of Object.entries(FAILURES)) {
    for (const stage of ['ready', 'sealing'] as const) {
      test(`${name} while waiting for ${stage}: xl's stream ends after the take-back`, () => {
        const one = at(stage)
        fail(one)
        expect(one.harness.events.slice(-2)).toEqual(['end link', 'ask take-back'])
        one.machine.answered('take-back')
        expect(one.harness.events.slice(-2)).toEqual(['end xl', 'finish'])
        expect(one.harness.said.xl).toBe(textOf(BANNER))
        expect(one.machine.outcome).toBe('source-owns')
        expect(one.machine.problem).toBeDefined()
      })
    }

    test(`${name} once xl knows that it is ready: xl is told of a failure, and resumes`, () => {
      const one = at('go')
      fail(one)
      one.machine.answered('take-back')
      expect(one.harness.said.xl).toBe(textOf(BANNER, READY))
      inPieces(GO, 1, piece => one.machine.fromXl(piece))
      expect(one.harness.said.xl).toBe(textOf(BANNER, READY, REPORT_FAILURE))
      expect(one.harness.said.link).toBe(textOf(MEMORY))
      expect(one.machine.isGoForwarded).toBe(false)
    })

    test(`${name} while it is journalled: the answer is awaited, permission withheld`, () => {
      for (const answer of ['yes', 'no']) {
        const one = at('giving')
        fail(one)
        expect(one.harness.events.at(-1)).toBe('end link')
        if (answer === 'yes') one.machine.answered('give-away')
        else one.machine.failed('give-away', new Error('disk full'))
        expect(one.harness.events.at(-1)).toBe('ask take-back')
        one.machine.answered('take-back')
        expect(one.harness.said.link).toBe(textOf(MEMORY))
        expect(one.harness.said.xl).toBe(textOf(BANNER, READY, REPORT_FAILURE))
        expect(one.machine.outcome).toBe('source-owns')
      }
    })
  }

  test('a seal that fails ends it as a lost link does', () => {
    const { harness, machine } = at('sealing')
    machine.failed('seal', new Error('mirror is broken'))
    machine.answered('take-back')
    expect(harness.said.xl).toBe(textOf(BANNER))
    expect(machine.problem).toContain('mirror is broken')
    expect(harness.events.slice(1)).toEqual(['end link', 'ask take-back', 'end xl', 'finish'])
  })

  test('an answer that comes too late does nothing', () => {
    const { harness, machine } = at('sealing')
    machine.linkEnded()
    machine.answered('seal')
    machine.failed('seal', new Error('late'))
    expect(harness.said.xl).toBe(textOf(BANNER))
    expect(harness.events.at(-1)).toBe('ask take-back')
  })

  test('xl that ends early, with half a permission too, has not given it', () => {
    for (const half of [new Uint8Array(), GO.subarray(0, GO.length - 1)]) {
      const { harness, machine } = at('go')
      machine.fromXl(half)
      machine.xlEnded()
      machine.answered('take-back')
      expect(harness.events.slice(-2)).toEqual(['end xl', 'finish'])
      expect(harness.said.link).toBe(textOf(MEMORY))
      expect(machine.outcome).toBe('source-owns')
    }
  })

  test('something else than permission is not passed on, and xl gets no leave to resume', () => {
    const { harness, machine } = at('go')
    machine.fromXl(Buffer.from('domain is mine'))
    machine.answered('take-back')
    expect(harness.said).toMatchObject({ xl: textOf(BANNER, READY), link: textOf(MEMORY) })
    expect(harness.events.at(-1)).toBe('finish')
  })

  test('without a take-back xl gets no leave to resume, and the outcome is undefined', () => {
    const { harness, machine } = at('giving')
    machine.failed('give-away', new Error('EIO'))
    machine.failed('take-back', new Error('EIO again'))
    expect(harness.said.xl).toBe(textOf(BANNER, READY))
    expect(machine.outcome).toBe('undefined')
    expect(machine.problem).toContain('EIO again')
  })

  test('xl that never writes permission is let go at the deadline', () => {
    const { harness, machine } = at('go')
    machine.linkEnded()
    machine.expire()
    expect(harness.events).not.toContain('finish')
    machine.answered('take-back')
    expect(harness.events).not.toContain('finish')
    machine.expire()
    expect(harness.events.at(-1)).toBe('finish')
  })
})

describe('cancelling', () => {
  test('is possible as long as permission was not written, and not later', () => {
    const possible = STAGES.map(stage => [stage, at(stage).machine.cancel()])
    expect(possible.filter(([, is]) => is).map(([stage]) => stage)).toEqual([
      'banner',
      'ready',
      'sealing',
      'go',
    ])
  })

  test('a cancel that came too late changes nothing', () => {
    const { harness, machine, link } = at('report')
    const before = harness.events.length
    expect(machine.cancel()).toBe(false)
    expect(harness.events).toHaveLength(before)
    link(SUCCEEDED)
    machine.answered('confirm')
    expect(machine.outcome).toBe('destination-owns')
  })
})
