// The client's handshake against servers that are wrong, old or hostile.

import { describe, expect, test } from 'vitest'
import {
  ClientHandshake,
  type ClientHandshakeOptions,
  META_CONTEXTS_MAX,
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_LIST,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_POLICY,
  NBD_REP_ERR_SHUTDOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  OPTION_REPLY_LENGTH_MAX,
  REPLIES_PER_OPTION_MAX,
} from '../src/index.ts'
import { greetingBytes, replyBytes, splitters, wire } from './support/handshake.ts'

const exportInfo = wire([16, NBD_INFO_EXPORT], [64, 4096], [16, 1])
const blockSize = (minimum: number, preferred: number, maximum: number) =>
  wire([16, NBD_INFO_BLOCK_SIZE], [32, minimum], [32, preferred], [32, maximum])

const GO = NBD_OPT_GO
const go = (type: number, data = wire()) => replyBytes(GO, type, data)

/** A client that has been greeted and, without structured replies, asks NBD_OPT_GO at once. */
function greeted(options: Partial<ClientHandshakeOptions> = {}): ClientHandshake {
  const client = new ClientHandshake({ tls: 'off', structuredReplies: false, ...options })
  client.feed(greetingBytes())
  client.takeOutput()
  return client
}

/** Option numbers in what a client sends. */
function optionsSent(client: ClientHandshake): number[] {
  const bytes = client.takeOutput()
  const view = new DataView(bytes.buffer)
  const options: number[] = []
  for (let at = 0; at < bytes.length; at += 16 + view.getUint32(at + 12)) {
    options.push(view.getUint32(at + 8))
  }
  return options
}

const broken: readonly (readonly [string, Uint8Array])[] = [
  ['a wrong reply magic', wire([64, 1], [32, GO], [32, NBD_REP_ACK], [32, 0])],
  ['a reply to another option', replyBytes(NBD_OPT_LIST, NBD_REP_ACK)],
  ['an acknowledgement without information', go(NBD_REP_ACK)],
  ['an acknowledgement with data', wire(go(NBD_REP_INFO, exportInfo), go(NBD_REP_ACK, wire('x')))],
  ['a type of another option', go(NBD_REP_SERVER, wire([32, 0]))],
  ['an unknown type', go(99)],
  [
    'a reply that is too long',
    wire([64, 0x3e889045565a9], [32, GO], [32, 3], [32, OPTION_REPLY_LENGTH_MAX + 1]),
  ],
  ['information without a type', go(NBD_REP_INFO)],
  ['short export information', go(NBD_REP_INFO, exportInfo.slice(0, 11))],
  ['long export information', go(NBD_REP_INFO, wire(exportInfo, 'x'))],
  ['transmission flags without HAS_FLAGS', go(NBD_REP_INFO, wire([16, 0], [64, 1], [16, 0]))],
  ['a minimum block size of 0', go(NBD_REP_INFO, blockSize(0, 4096, 65536))],
  ['a minimum block size that is no power of 2', go(NBD_REP_INFO, blockSize(513, 4096, 65536))],
  ['a minimum block size that is too large', go(NBD_REP_INFO, blockSize(131072, 131072, 2 ** 20))],
  ['a preferred block size below the minimum', go(NBD_REP_INFO, blockSize(4096, 512, 65536))],
  ['a preferred block size that is no power of 2', go(NBD_REP_INFO, blockSize(1, 4097, 65536))],
  ['a maximum payload below the preferred size', go(NBD_REP_INFO, blockSize(1, 4096, 512))],
  [
    'endless information',
    wire(...Array<Uint8Array>(REPLIES_PER_OPTION_MAX + 1).fill(go(NBD_REP_INFO, wire([16, 99])))),
  ],
]

describe.each(splitters)('broken rules, bytes %s', (_name, split) => {
  test.each(broken)('%s', (_rule, bytes) => {
    const client = greeted()
    for (const piece of split(bytes)) client.feed(piece)
    expect(client.state).toBe('failed')
    expect(client.failure?.name).toBe('ProtocolError')
    expect(client.result).toBeUndefined()
  })

  test.each([
    ['no NBD', wire('HTTP/1.1 400 Bad Request\r\n')],
    ['oldstyle', wire('NBDMAGIC', [64, 0x00420281861253], [64, 4096])],
    ['newstyle of another kind', wire('NBDMAGIC', 'IHAVEOPS', [16, 3])],
  ])('a greeting that is %s', (_kind, bytes) => {
    const client = new ClientHandshake({ tls: 'off' })
    for (const piece of split(bytes)) client.feed(piece)
    expect(client.failure?.name).toBe('ProtocolError')
  })
})

describe('falling back', () => {
  test('to NBD_OPT_EXPORT_NAME where there is no NBD_OPT_GO', () => {
    const client = greeted()
    client.feed(go(NBD_REP_ERR_UNSUP))
    expect(optionsSent(client)).toEqual([NBD_OPT_EXPORT_NAME])
    client.feed(wire([64, 8192], [16, 1]))
    expect(client.result).toMatchObject({
      size: 8192,
      flags: 1,
      blockSize: { minimum: 1, preferred: 4096, maximum: 32 * 1024 * 1024 },
    })
  })

  test('to NBD_OPT_EXPORT_NAME with padding where the server is not fixed newstyle', () => {
    const client = new ClientHandshake({ exportName: 'disk', tls: 'off' })
    client.feed(greetingBytes(0))
    expect(client.takeOutput()).toEqual(
      wire([32, 0], 'IHAVEOPT', [32, NBD_OPT_EXPORT_NAME], [32, 4], 'disk'),
    )
    client.feed(wire([64, 8192], [16, 1], new Uint8Array(123)))
    expect(client.state).toBe('haggling')
    client.feed(wire([8, 0], 'left'))
    expect(client.state).toBe('transmission')
    expect(client.takeLeftover()).toEqual(wire('left'))
  })

  test('to simple replies, and so to no contexts', () => {
    const client = greeted({ structuredReplies: true })
    client.feed(replyBytes(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_UNSUP))
    expect(optionsSent(client)).toEqual([NBD_OPT_GO])
  })

  test('to no contexts where the server refuses them half-way', () => {
    const client = greeted({ structuredReplies: true })
    client.feed(replyBytes(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK))
    expect(optionsSent(client)).toEqual([NBD_OPT_SET_META_CONTEXT])
    const context = wire([32, 1], 'base:allocation')
    client.feed(replyBytes(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, context))
    client.feed(replyBytes(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_POLICY))
    client.feed(wire(go(NBD_REP_INFO, exportInfo), go(NBD_REP_ACK)))
    expect(client.result).toMatchObject({ structuredReplies: true, contexts: [] })
  })
})

test.each([
  ['one id', (index: number) => wire([32, 1], `x-test:${index}`), 2],
  ['one name', (index: number) => wire([32, index], 'x-test:a'), 2],
  ['too many', (index: number) => wire([32, index], `x-test:${index}`), META_CONTEXTS_MAX + 1],
])('meta contexts with %s break the rules', (_name, context, count) => {
  const client = greeted({ structuredReplies: true })
  client.feed(replyBytes(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK))
  for (let index = 0; index < count; index++) {
    expect(client.failure).toBeUndefined()
    client.feed(replyBytes(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, context(index)))
  }
  expect(client.failure?.name).toBe('ProtocolError')
})

test('a server that shuts down is left politely', () => {
  const client = greeted({ structuredReplies: true })
  client.feed(replyBytes(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_SHUTDOWN, wire('bye\n')))
  expect(client.failure).toMatchObject({ code: 'NBD_REP_ERR_SHUTDOWN' })
  expect(client.failure?.message).toContain('(bye?)')
  expect(optionsSent(client)).toEqual([NBD_OPT_ABORT])
})

test('with TLS required nothing but NBD_OPT_STARTTLS is said in the clear', () => {
  const client = new ClientHandshake({ exportName: 'secret name', tls: 'require' })
  client.feed(greetingBytes())
  expect(client.takeOutput()).toEqual(wire([32, 3], 'IHAVEOPT', [32, NBD_OPT_STARTTLS], [32, 0]))
})

test('names that the protocol cannot carry are refused at once', () => {
  for (const exportName of ['x'.repeat(4097), 'a\0b']) {
    expect(() => new ClientHandshake({ exportName, tls: 'off' })).toThrow(RangeError)
  }
})
