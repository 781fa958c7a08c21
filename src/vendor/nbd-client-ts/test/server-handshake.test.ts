// The server's handshake against clients that are wrong, old or hostile.

import { describe, expect, test } from 'vitest'
import {
  HANDSHAKE_OUTPUT_MAX,
  META_QUERIES_MAX,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_INFO_NAME,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_PEEK_EXPORT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  OPTION_LENGTH_MAX,
  OPTION_SKIP_LENGTH_MAX,
  OPTIONS_PER_SESSION_MAX,
  type ServerHandshakeOptions,
} from '../src/index.ts'
import { disk, optionBytes, parseReplies, serverHandshake, wire } from './support/handshake.ts'

const infoRequest = (name: string, ...wanted: number[]) =>
  wire([32, name.length], name, [16, wanted.length], ...wanted.map(type => [16, type] as const))

const metaRequest = (name: string, ...queries: string[]) =>
  wire(
    [32, name.length],
    name,
    [32, queries.length],
    ...queries.flatMap(query => [[32, query.length], query] as const),
  )

/** A server that has greeted and got good client flags. */
function greeted(options: Partial<ServerHandshakeOptions> = {}) {
  const server = serverHandshake(options)
  server.takeOutput()
  server.feed(wire([32, 3]))
  return server
}

/** Types of the replies to one option. */
function ask(server: ReturnType<typeof greeted>, option: number, data = wire()): number[] {
  server.feed(optionBytes(option, data))
  return parseReplies(server.takeOutput()).map(([, type]) => type)
}

describe('client flags', () => {
  test.each([0, 2, 4, 7, 0x80000003])('0x%x end the session', flags => {
    const server = serverHandshake()
    server.feed(wire([32, flags]))
    expect(server.state).toBe('failed')
    expect(server.failure?.name).toBe('ProtocolError')
  })
})

describe('an option gets the reply of the specification', () => {
  const cases: readonly (readonly [string, number, Uint8Array, number[]])[] = [
    ['unknown option', 77, wire('data'), [NBD_REP_ERR_UNSUP]],
    ['withdrawn option', NBD_OPT_PEEK_EXPORT, wire(), [NBD_REP_ERR_UNSUP]],
    ['list with data', NBD_OPT_LIST, wire('x'), [NBD_REP_ERR_INVALID]],
    ['structured with data', NBD_OPT_STRUCTURED_REPLY, wire('x'), [NBD_REP_ERR_INVALID]],
    ['no TLS here', NBD_OPT_STARTTLS, wire(), [NBD_REP_ERR_POLICY]],
    ['go without data', NBD_OPT_GO, wire(), [NBD_REP_ERR_INVALID]],
    ['go, name beyond data', NBD_OPT_GO, wire([32, 9], 'disk', [16, 0]), [NBD_REP_ERR_INVALID]],
    ['go, name of 4 GiB', NBD_OPT_GO, wire([32, 2 ** 32 - 1], 'disk'), [NBD_REP_ERR_INVALID]],
    ['go, fewer requests', NBD_OPT_GO, wire([32, 0], [16, 2], [16, 0]), [NBD_REP_ERR_INVALID]],
    ['go, trailing bytes', NBD_OPT_GO, wire([32, 0], [16, 0], 'x'), [NBD_REP_ERR_INVALID]],
    ['go, NUL in name', NBD_OPT_GO, infoRequest('di\0k'), [NBD_REP_ERR_INVALID]],
    ['go, not UTF-8', NBD_OPT_GO, wire([32, 1], [8, 255], [16, 0]), [NBD_REP_ERR_INVALID]],
    ['go, name too long', NBD_OPT_GO, infoRequest('x'.repeat(4097)), [NBD_REP_ERR_INVALID]],
    ['go, unknown export', NBD_OPT_GO, infoRequest('x'), [NBD_REP_ERR_UNKNOWN]],
    ['info', NBD_OPT_INFO, infoRequest('disk'), [NBD_REP_INFO, NBD_REP_ACK]],
    [
      'info with wishes, known and not',
      NBD_OPT_INFO,
      infoRequest('', NBD_INFO_NAME, NBD_INFO_BLOCK_SIZE, 999),
      [NBD_REP_INFO, NBD_REP_INFO, NBD_REP_INFO, NBD_REP_ACK],
    ],
    [
      'contexts before structured replies',
      NBD_OPT_SET_META_CONTEXT,
      metaRequest('disk', 'base:allocation'),
      [NBD_REP_ERR_INVALID],
    ],
    [
      'all contexts',
      NBD_OPT_LIST_META_CONTEXT,
      metaRequest('disk'),
      [NBD_REP_META_CONTEXT, NBD_REP_META_CONTEXT, NBD_REP_ACK],
    ],
    [
      'contexts of a namespace',
      NBD_OPT_LIST_META_CONTEXT,
      metaRequest('disk', 'base:'),
      [NBD_REP_META_CONTEXT, NBD_REP_ACK],
    ],
    [
      'contexts of an unknown namespace',
      NBD_OPT_LIST_META_CONTEXT,
      metaRequest('disk', 'x-no:'),
      [NBD_REP_ACK],
    ],
    [
      'more queries than bytes',
      NBD_OPT_LIST_META_CONTEXT,
      wire([32, 0], [32, 2 ** 31]),
      [NBD_REP_ERR_INVALID],
    ],
    [
      'too many queries',
      NBD_OPT_LIST_META_CONTEXT,
      metaRequest('disk', ...Array<string>(META_QUERIES_MAX + 1).fill('base:')),
      [NBD_REP_ERR_TOO_BIG],
    ],
  ]

  test.each(cases)('%s', (_name, option, data, expected) => {
    const server = greeted()
    expect(ask(server, option, data)).toEqual(expected)
    expect(server.state).toBe('haggling')
    expect(ask(server, NBD_OPT_ABORT)).toEqual([NBD_REP_ACK])
    expect(server.state).toBe('ended')
  })

  test('a wrong option magic ends the session', () => {
    const server = greeted()
    server.feed(wire('IHAVEOPS', [32, NBD_OPT_LIST], [32, 0]))
    expect(server.state).toBe('failed')
  })
})

describe('NBD_OPT_EXPORT_NAME', () => {
  test('is answered with padding unless the client declined it', () => {
    const server = serverHandshake()
    server.feed(wire([32, 1], optionBytes(NBD_OPT_EXPORT_NAME, wire('disk'))))
    expect(server.takeAcknowledgement()).toHaveLength(134)
    const modern = greeted()
    modern.feed(optionBytes(NBD_OPT_EXPORT_NAME, wire('disk')))
    expect(modern.takeAcknowledgement()).toEqual(wire([64, disk.size], [16, 5]))
    expect(modern.result).toMatchObject({ exportName: 'disk', requestedBlockSize: false })
  })

  test.each(['nothing', 'x'.repeat(5000)])('ends the session for an unknown name', name => {
    const server = greeted()
    server.feed(optionBytes(NBD_OPT_EXPORT_NAME, wire(name)))
    expect(server.state).toBe('failed')
    expect(server.result).toBeUndefined()
    expect(server.takeOutput()).toHaveLength(0)
  })
})

describe('meta contexts', () => {
  const negotiated = () => {
    const server = greeted()
    ask(server, NBD_OPT_STRUCTURED_REPLY)
    ask(server, NBD_OPT_SET_META_CONTEXT, metaRequest('disk', 'base:allocation'))
    return server
  }

  test('belong to one export', () => {
    const server = negotiated()
    ask(server, NBD_OPT_GO, infoRequest('secret'))
    expect(server.result).toMatchObject({ exportName: 'secret', contexts: [] })
  })

  test('survive if the export is asked for by its other name', () => {
    const server = negotiated()
    ask(server, NBD_OPT_GO, infoRequest('', NBD_INFO_EXPORT))
    expect(server.result?.contexts).toHaveLength(1)
  })

  test.each([
    ['a later selection of none', metaRequest('disk')],
    ['a wildcard, which selects nothing', metaRequest('disk', 'base:')],
    ['a selection that fails', metaRequest('nothing', 'base:allocation')],
    ['a selection that is malformed', wire([32, 99])],
  ])('are replaced by %s', (_name, request) => {
    const server = negotiated()
    ask(server, NBD_OPT_SET_META_CONTEXT, request)
    ask(server, NBD_OPT_GO, infoRequest('disk'))
    expect(server.result?.contexts).toEqual([])
  })
})

describe('TLS', () => {
  test('required: everything else is refused until it is up, and then works', () => {
    const server = greeted({ tls: 'required' })
    for (const option of [NBD_OPT_LIST, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_GO, 77]) {
      expect(ask(server, option)).toEqual([NBD_REP_ERR_TLS_REQD])
    }
    expect(ask(server, NBD_OPT_STARTTLS)).toEqual([NBD_REP_ACK])
    expect(server.state).toBe('starting-tls')
    server.tlsEstablished()
    expect(ask(server, NBD_OPT_STARTTLS)).toEqual([NBD_REP_ERR_INVALID])
    expect(ask(server, NBD_OPT_GO, infoRequest('secret')).at(-1)).toBe(NBD_REP_INFO)
    expect(server.state).toBe('transmission')
  })

  test('required: NBD_OPT_EXPORT_NAME in the clear ends the session', () => {
    const server = greeted({ tls: 'required' })
    server.feed(optionBytes(NBD_OPT_EXPORT_NAME, wire('disk')))
    expect(server.state).toBe('failed')
  })

  test('NBD_OPT_STARTTLS with data is refused', () => {
    const server = greeted({ tls: 'optional' })
    expect(ask(server, NBD_OPT_STARTTLS, wire('x'))).toEqual([NBD_REP_ERR_INVALID])
    expect(server.state).toBe('haggling')
  })
})

describe('limits', () => {
  test('an option that is too long is skipped, answered, and the next one understood', () => {
    const server = greeted()
    const long = new Uint8Array(OPTION_LENGTH_MAX + 1)
    expect(ask(server, NBD_OPT_GO, long)).toEqual([NBD_REP_ERR_TOO_BIG])
    expect(ask(server, NBD_OPT_INFO, infoRequest('disk'))).toEqual([NBD_REP_INFO, NBD_REP_ACK])
  })

  test('an option beyond what is worth skipping ends the session at its header', () => {
    const server = greeted()
    server.feed(wire('IHAVEOPT', [32, NBD_OPT_GO], [32, OPTION_SKIP_LENGTH_MAX + 1]))
    expect(server.state).toBe('failed')
  })

  test('a session has a limited number of options', () => {
    const server = greeted()
    for (let count = 0; count < OPTIONS_PER_SESSION_MAX; count++) {
      expect(ask(server, NBD_OPT_INFO, infoRequest('disk'))).toHaveLength(2)
    }
    server.feed(optionBytes(NBD_OPT_INFO, infoRequest('disk')))
    expect(server.state).toBe('failed')
  })

  test('a client that asks and does not read ends its session', () => {
    const description = 'x'.repeat(4096)
    const names = Array.from({ length: 1000 }, (_, index) => `disk${index}`)
    const exports = new Map(names.map(name => [name, { ...disk, description }]))
    const server = greeted({ exports })
    for (let count = 0; count < 8; count++) server.feed(optionBytes(NBD_OPT_LIST))
    expect(server.state).toBe('failed')
    expect(server.failure?.message).toContain(`${HANDSHAKE_OUTPUT_MAX} bytes`)
  })
})

test('a server that shuts down says so to everything but NBD_OPT_ABORT', () => {
  const server = greeted()
  server.shutdown()
  expect(ask(server, NBD_OPT_GO, infoRequest('disk'))).toEqual([NBD_REP_ERR_SHUTDOWN])
  expect(ask(server, NBD_OPT_ABORT)).toEqual([NBD_REP_ACK])
})
