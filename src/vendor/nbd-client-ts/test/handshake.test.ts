// ClientHandshake against ServerHandshake in memory, however the bytes are cut.

import { describe, expect, test } from 'vitest'
import {
  ClientHandshake,
  HANDSHAKE_STATES,
  isFinalState,
  mayFollow,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FLUSH,
} from '../src/index.ts'
import { disk, exchange, serverHandshake, splitters, whole } from './support/handshake.ts'

describe.each(splitters)('bytes %s', (_name, split) => {
  test('both sides of NBD_OPT_GO agree on what was negotiated', () => {
    const client = new ClientHandshake({ exportName: 'disk', tls: 'off' })
    const server = serverHandshake()
    exchange(client, server, split)
    expect([client.state, server.state]).toEqual(['transmission', 'transmission'])
    expect(server.result).toEqual({
      exportName: 'disk',
      structuredReplies: true,
      contexts: [{ id: 1, name: 'base:allocation' }],
      requestedBlockSize: true,
    })
    expect(client.result).toEqual({
      exportName: 'disk',
      canonicalName: 'disk',
      description: 'a disk',
      size: disk.size,
      flags: NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_DF,
      blockSize: disk.blockSize,
      structuredReplies: true,
      contexts: [{ id: 1, name: 'base:allocation' }],
    })
  })

  test('a session over TLS sees the export that needs it', () => {
    const client = new ClientHandshake({ exportName: 'secret', tls: 'require' })
    const server = serverHandshake({ tls: 'required' })
    exchange(client, server, split)
    expect(client.result?.size).toBe(4096)
    expect(server.result?.exportName).toBe('secret')
  })

  test('a list has every export and its description', () => {
    const client = new ClientHandshake({ goal: 'list', tls: 'off' })
    const server = serverHandshake()
    exchange(client, server, split)
    expect([client.state, server.state]).toEqual(['ended', 'ended'])
    expect(client.exports).toEqual([
      { name: 'disk', description: 'a disk' },
      { name: 'secret', description: 'a disk' },
    ])
  })

  test('NBD_OPT_INFO tells of an export without entering transmission', () => {
    const client = new ClientHandshake({ goal: 'info', tls: 'off' })
    const server = serverHandshake()
    exchange(client, server, split)
    expect([client.state, server.state]).toEqual(['ended', 'ended'])
    expect(client.result).toMatchObject({ exportName: '', canonicalName: 'disk', size: disk.size })
    expect(server.result).toBeUndefined()
  })

  test('an unknown export is refused and the client leaves politely', () => {
    const client = new ClientHandshake({ exportName: 'nothing', tls: 'off' })
    const server = serverHandshake()
    exchange(client, server, split)
    expect(client.failure).toMatchObject({ name: 'NbdError', code: 'NBD_REP_ERR_UNKNOWN' })
    expect(server.state).toBe('ended')
  })
})

test('the acknowledgement that lets the client in is not part of the output', () => {
  const client = new ClientHandshake({ tls: 'off', structuredReplies: false })
  const server = serverHandshake()
  client.feed(server.takeOutput())
  server.feed(client.takeOutput())
  client.feed(server.takeOutput())
  expect([client.state, server.state]).toEqual(['haggling', 'transmission'])
  const acknowledgement = server.takeAcknowledgement()
  expect(server.takeAcknowledgement()).toHaveLength(0)
  client.feed(acknowledgement)
  expect(client.state).toBe('transmission')
})

test('bytes behind the handshake are left over on both sides', () => {
  const client = new ClientHandshake({ tls: 'off', structuredReplies: false })
  const server = serverHandshake()
  client.feed(server.takeOutput())
  server.feed(Uint8Array.of(...client.takeOutput(), 1, 2, 3))
  client.feed(Uint8Array.of(...server.takeOutput(), ...server.takeAcknowledgement(), 4, 5))
  expect([...server.takeLeftover()]).toEqual([1, 2, 3])
  expect([...client.takeLeftover()]).toEqual([4, 5])
})

test('without structured replies there are no contexts and no SEND_DF', () => {
  const client = new ClientHandshake({ tls: 'off', structuredReplies: false })
  const server = serverHandshake()
  exchange(client, server, whole)
  expect(server.result).toMatchObject({ structuredReplies: false, contexts: [] })
  expect(client.result?.flags).toBe(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH)
})

test('a client that does not want TLS is refused by a server that requires it', () => {
  const client = new ClientHandshake({ tls: 'off' })
  const server = serverHandshake({ tls: 'required' })
  exchange(client, server, whole)
  expect(client.failure).toMatchObject({ code: 'NBD_REP_ERR_TLS_REQD' })
})

test('a server with optional TLS hides what is for TLS only from a client without', () => {
  const client = new ClientHandshake({ goal: 'list', tls: 'off' })
  exchange(client, serverHandshake({ tls: 'optional' }), whole)
  expect(client.exports?.map(({ name }) => name)).toEqual(['disk'])
  const greedy = new ClientHandshake({ exportName: 'secret', tls: 'off' })
  exchange(greedy, serverHandshake({ tls: 'optional' }), whole)
  expect(greedy.failure).toMatchObject({ code: 'NBD_REP_ERR_TLS_REQD' })
})

test('contexts beyond base:allocation are the caller and the export to agree on', () => {
  const contexts = ['base:allocation', 'x-test:dirty', 'x-other:thing']
  const client = new ClientHandshake({ tls: 'off', contexts })
  exchange(client, serverHandshake(), whole)
  expect(client.result?.contexts.map(({ name }) => name)).toEqual(contexts.slice(0, 2))
})

test('the table of states has an end that can be reached from every state', () => {
  const states = Object.keys(HANDSHAKE_STATES) as (keyof typeof HANDSHAKE_STATES)[]
  const finals = states.filter(isFinalState)
  expect(finals).toEqual(['transmission', 'ended', 'failed'])
  for (const state of states) {
    expect(mayFollow(state, 'failed')).toBe(!finals.includes(state))
    expect(mayFollow(state, state)).toBe(false)
    if (finals.includes(state)) expect(states.some(to => mayFollow(state, to))).toBe(false)
  }
})
