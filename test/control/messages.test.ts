/**
 * The control protocol's checks: what may pass is enumerated, and every field's absence is noticed.
 */
import { describe, expect, test } from 'vitest'
import { ControlError } from '../../src/control/control-error.ts'
import { encodeFrame } from '../../src/control/framing.ts'
import {
  CONTROL_VERSION,
  checkReply,
  checkRequest,
  proxyVerbs,
  type Verb,
  type Verbs,
} from '../../src/control/messages.ts'
import { checkParamsOf, checkResultOf, isVerbOf, verbsOf } from '../../src/control/verb-table.ts'
import { mirrorSample, serveSample } from './samples.ts'

const VERBS = verbsOf(proxyVerbs)
const isVerb = (name: string) => isVerbOf(proxyVerbs, name)
const checkParams = (verb: Verb, given: unknown) => checkParamsOf(proxyVerbs, verb, given)
const checkResult = (verb: Verb, given: unknown) => checkResultOf(proxyVerbs, verb, given)

const start = {
  target: 'nbd://host/disk',
  copyMode: 'auto',
  bandwidth: 5_000_000_000,
  granularity: 65536,
  stallMs: 100,
  reconnectSeconds: 300,
  tlsPskFile: '/etc/psk',
} as const

const params: { [V in Verb]: Verbs[V]['params'] } = {
  status: {},
  'mirror-start': start,
  'mirror-status': {},
  'mirror-set': { bandwidth: 1, stallMs: 2, copyMode: 'background' },
  'mirror-cancel': {},
  'mirror-complete': { verify: true, resume: false, timeoutMs: 1000 },
  'mirror-resume': {},
}
const OPTIONAL = ['tlsPskFile', 'mirror-set.bandwidth', 'mirror-set.stallMs', 'mirror-set.copyMode']

function malformed(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(ControlError)
    expect((error as ControlError).code).toBe('malformed')
    return (error as ControlError).message
  }
  throw new Error('was accepted')
}

describe('parameters', () => {
  test('of every verb pass when whole', () => {
    for (const verb of VERBS) expect(checkParams(verb, params[verb])).toEqual(params[verb])
  })

  test('of every verb may lack only what is optional', () => {
    for (const verb of VERBS) {
      for (const name of Object.keys(params[verb])) {
        const rest = Object.fromEntries(
          Object.entries(params[verb]).filter(([key]) => key !== name),
        )
        if (OPTIONAL.includes(name) || OPTIONAL.includes(`${verb}.${name}`)) checkParams(verb, rest)
        else expect(malformed(() => checkParams(verb, rest))).toBe(`${verb}.${name} is missing`)
      }
    }
  })

  test('of every verb must be a map without unknown fields', () => {
    for (const verb of VERBS) {
      const more = { ...params[verb], bandwith: 1 }
      expect(malformed(() => checkParams(verb, more))).toBe(`${verb}."bandwith" is unknown`)
      for (const other of [null, [], 7, 'x', true]) {
        expect(malformed(() => checkParams(verb, other))).toMatch(/must be a map/)
      }
    }
  })

  test.each([
    ['target', ''],
    ['target', 'nbd://\0'],
    ['tlsPskFile', 'x'.repeat(5000)],
    ['target', 7],
    ['copyMode', 'async'],
    ['bandwidth', -1],
    ['bandwidth', 1.5],
    ['bandwidth', Number.NaN],
    ['bandwidth', 2 ** 53],
    ['bandwidth', '1M'],
    ['granularity', 512],
    ['granularity', 65537],
    ['granularity', 98304],
    ['granularity', 2 ** 21],
    ['stallMs', 0],
    ['reconnectSeconds', 10 ** 9],
    ['tlsPskFile', null],
  ])('with a wrong %s are refused by name (%#)', (name, value) => {
    const message = malformed(() => checkParams('mirror-start', { ...start, [name]: value }))
    expect(message).toContain(`mirror-start.${name} must be`)
    expect(message.length).toBeLessThan(200)
  })
})

describe('results', () => {
  test('lack no field and have none too many', () => {
    expect(checkResult('status', serveSample)).toEqual(serveSample)
    const withMirror = { ...serveSample, mirror: mirrorSample }
    expect(checkResult('status', withMirror)).toEqual(withMirror)
    for (const name of Object.keys(mirrorSample)) {
      const rest = Object.fromEntries(Object.entries(mirrorSample).filter(([key]) => key !== name))
      const message = malformed(() => checkResult('mirror-status', rest))
      expect(message).toBe(`result of mirror-status.${name} is missing`)
    }
  })

  test('that are not finite numbers are refused', () => {
    for (const name of ['rateBytesPerSecond', 'etaSeconds', 'elapsedMs', 'pass']) {
      for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -1, '1']) {
        malformed(() => checkResult('mirror-status', { ...mirrorSample, [name]: value }))
      }
    }
  })
})

describe('envelopes', () => {
  test('a request needs an id, a verb and parameters', () => {
    const request = { version: CONTROL_VERSION, id: 1, verb: 'status', params: {} }
    expect(checkRequest(request)).toEqual(request)
    for (const name of Object.keys(request)) malformed(() => checkRequest(omit(request, name)))
    malformed(() => checkRequest({ ...request, id: 0 }))
    malformed(() => checkRequest('status'))
  })

  test('a reply has a result or an error, not both and not neither', () => {
    const reply = { version: CONTROL_VERSION, id: 1 }
    const error = { code: 'no-mirror', message: 'none' }
    checkReply({ ...reply, result: {} })
    checkReply({ ...reply, error })
    malformed(() => checkReply(reply))
    malformed(() => checkReply({ ...reply, result: {}, error }))
    malformed(() => checkReply({ ...reply, error: { code: 'whatever', message: 'x' } }))
  })

  test('another version is named beside ours, with the side to upgrade', () => {
    const older = expectVersion(() => checkReply({ version: 0, anything: 1 }))
    expect(older).toBe(
      'control version 1 asks and control version 0 answers: upgrade the blkferry that answers',
    )
    expect(expectVersion(() => checkReply({ version: 2 }))).toMatch(
      /upgrade the blkferry that asks/,
    )
    expect(expectVersion(() => checkRequest({ version: 2 }))).toMatch(/that answers$/)
    expect(expectVersion(() => checkRequest({ version: 0 }))).toMatch(
      /upgrade the blkferry that asks/,
    )
  })

  test('names that objects inherit are not verbs', () => {
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      expect(isVerb(name)).toBe(false)
    }
  })
})

test('the bytes of a request and of replies are what version 1 has always sent', () => {
  const request = { version: 1, id: 7, verb: 'mirror-set', params: { bandwidth: 2 ** 33 } }
  expect(encodeFrame(request)).toEqual(
    bytes`00000039 84 a7${'version'} 01 a2${'id'} 07 a4${'verb'} aa${'mirror-set'} a6${'params'}
      81 a9${'bandwidth'} cb 4200000000000000`,
  )
  const result = { pass: 2, etaSeconds: null, activelySynced: true }
  expect(encodeFrame({ version: 1, id: 300, result })).toEqual(
    bytes`0000003a 83 a7${'version'} 01 a2${'id'} cd 012c a6${'result'}
      83 a4${'pass'} 02 aa${'etaSeconds'} c0 ae${'activelySynced'} c3`,
  )
  const error = { code: 'no-mirror', message: 'none' }
  expect(encodeFrame({ version: 1, id: 0, error })).toEqual(
    bytes`00000031 83 a7${'version'} 01 a2${'id'} 00 a5${'error'}
      82 a4${'code'} a9${'no-mirror'} a7${'message'} a4${'none'}`,
  )
})

/** Hex digits and, where a value stands, its text. */
function bytes(hex: TemplateStringsArray, ...texts: string[]): Buffer {
  return Buffer.concat(
    hex.map((digits, index) =>
      Buffer.concat([
        Buffer.from(digits.replace(/\s/g, ''), 'hex'),
        Buffer.from(texts[index] ?? '', 'latin1'),
      ]),
    ),
  )
}

function omit(from: object, name: string): object {
  return Object.fromEntries(Object.entries(from).filter(([key]) => key !== name))
}

function expectVersion(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    expect((error as ControlError).code).toBe('version')
    return (error as ControlError).message
  }
  throw new Error('was accepted')
}
