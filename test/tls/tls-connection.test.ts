/** One TLS connection in memory: what it makes of bytes, and whom it lets in. */
import { describe, expect, test } from 'vitest'
import { mapAnonymous } from '../../src/io/mmap.ts'
import {
  TLS_END,
  TLS_RECORD_MAX,
  TLS_WANTS_INPUT,
  TlsConnection,
} from '../../src/tls/tls-connection.ts'
import { TlsError } from '../../src/tls/tls-error.ts'
import { expectBytes } from '../support/bytes.ts'
import { Random } from '../support/random.ts'

const KEY = Buffer.alloc(32, 7)
const RECORD_COST = 5 + 1 + 16
const EBADMSG = 74

interface Ends {
  readonly client: TlsConnection
  readonly server: TlsConnection
}

function ends(key = KEY, identity = 'alice'): Ends {
  const server = TlsConnection.server(new Map([['alice', KEY]]))
  return { client: TlsConnection.client({ identity, key }), server }
}

/** What one has to say goes to the other; returns its length. */
function carry(from: TlsConnection, to: TlsConnection): number {
  const bytes = from.take()
  expect(to.put(bytes)).toBe(bytes.length)
  return bytes.length
}

function shakeHands({ client, server }: Ends): void {
  for (let isOver = false; !isOver; ) {
    const isClientDone = client.handshake()
    carry(client, server)
    isOver = server.handshake() && isClientDone
    carry(server, client)
  }
}

function free({ client, server }: Ends): void {
  client.free()
  server.free()
}

describe('a TLS connection', () => {
  test.each([1, 100, TLS_RECORD_MAX])('carries %i bytes at the cost of one record', length => {
    const both = ends()
    shakeHands(both)
    const memory = mapAnonymous(TLS_RECORD_MAX)
    const came = mapAnonymous(TLS_RECORD_MAX)
    memory.bytes.set(new Random(1).bytes(TLS_RECORD_MAX))
    const { client, server } = both
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      expect(from.write(memory.address, length)).toBe(true)
      expect(to.read(came.address, length)).toBe(TLS_WANTS_INPUT)
      expect(carry(from, to)).toBe(length + RECORD_COST)
      expect(to.read(came.address, TLS_RECORD_MAX)).toBe(length)
      expectBytes(came.bytes.subarray(0, length), memory.bytes.subarray(0, length))
    }
    free(both)
  })

  test('takes a new key after so many records, and the peer with it', () => {
    const both = ends()
    shakeHands(both)
    const memory = mapAnonymous(4096)
    const client = TlsConnection.adopt(both.client.handle, 4)
    const costs: number[] = []
    for (let round = 0; round < 9; round++) {
      memory.bytes.fill(round)
      client.write(memory.address, 100)
      costs.push(carry(client, both.server) - 100 - RECORD_COST)
      expect(both.server.read(memory.address + 2048, 2048)).toBe(100)
      expectBytes(memory.bytes.subarray(2048, 2148), new Uint8Array(100).fill(round))
    }
    const news = RECORD_COST + 5
    expect(costs).toEqual([0, 0, 0, 0, news, 0, 0, 0, news])
    free(both)
  })

  /** News of a new key, without any data under it; with the wish for one of the peer's own. */
  function silently(from: TlsConnection, to: TlsConnection, count: number): void {
    for (let round = 0; round < count; round++) {
      from.renewKey(true)
      from.handshake()
      carry(from, to)
    }
  }

  test('does not follow a peer that changes keys without end', () => {
    const both = ends()
    shakeHands(both)
    const { address } = mapAnonymous(4096)
    silently(both.client, both.server, 32)
    expect(both.server.read(address, 4096)).toBe(TLS_WANTS_INPUT)
    silently(both.client, both.server, 10)
    expect(both.server.read(address, 4096)).toBe(-EBADMSG)
    free(both)
  })

  test('follows one that changes keys again and again, with data in between', () => {
    const both = ends()
    shakeHands(both)
    const { address } = mapAnonymous(2 * TLS_RECORD_MAX)
    const records = 64
    for (let round = 0; round < 10; round++) {
      silently(both.client, both.server, 31)
      expect(both.server.read(address, 4096)).toBe(TLS_WANTS_INPUT)
      for (let sent = 0; sent < records; sent++) {
        both.client.write(address, TLS_RECORD_MAX)
        carry(both.client, both.server)
        expect(both.server.read(address, TLS_RECORD_MAX)).toBe(TLS_RECORD_MAX)
      }
    }
    free(both)
  })

  test('tells an end that was said', () => {
    const both = ends()
    shakeHands(both)
    both.client.shutdown()
    carry(both.client, both.server)
    expect(both.server.read(mapAnonymous(4096).address, 4096)).toBe(TLS_END)
    free(both)
  })

  test.each([
    ['another key', Buffer.alloc(32, 8), 'alice'],
    ['an unknown identity', KEY, 'mallory'],
    ['an identity too long for the server', KEY, 'm'.repeat(100)],
  ])('with %s does not come about', (_, key, identity) => {
    const both = ends(key, identity)
    expect(() => shakeHands(both)).toThrow(TlsError)
    free(both)
  })

  test.each([
    ['', 'is not the name of a host'],
    ['.example', 'is not the name of a host'],
    ['*.example', 'is not the name of a host'],
    ['host 2', 'is not the name of a host'],
    [undefined, 'no name to look for'],
  ])('with a certificate of %j is refused before it begins', (hostname, why) => {
    expect(() => TlsConnection.client({ hostname })).toThrow(why)
  })

  test('with an identity longer than TLS allows does not begin', () => {
    const both = ends(KEY, 'm'.repeat(1000))
    expect(() => shakeHands(both)).toThrow(TlsError)
    free(both)
  })
})
