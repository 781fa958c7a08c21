// One test for each published security advisory about an NBD implementation that has a
// counterpart here, named after it. They are about other people's programs; each says what the
// mistake was, and shows that this package does not make it.

import { describe, expect, test } from 'vitest'
import * as nbd from '../src/index.ts'
import { ClientHandshake, NbdClient, type ServerHandshake } from '../src/index.ts'
import {
  clientBytes,
  greetingBytes,
  optionBytes,
  parseReplies,
  replyBytes,
  serverHandshake,
  wire,
} from './support/handshake.ts'
import { Replies, request } from './support/replies.ts'
import { ScriptedServer, silentStream } from './support/scripted-server.ts'

const goRequest = wire([32, 4], 'disk', [16, 0])

describe('QEMU', () => {
  test('CVE-2017-2630: a long option reply does not overflow the client', () => {
    const client = new ClientHandshake({ goal: 'list', tls: 'off' })
    client.feed(greetingBytes())
    const header = wire([64, 0x3e889045565a9], [32, nbd.NBD_OPT_LIST], [32, nbd.NBD_REP_SERVER])
    client.feed(wire(header, [32, 0xffffffff]))
    expect(client.failure?.message).toContain('option reply length')
    const inner = new ClientHandshake({ goal: 'list', tls: 'off' })
    inner.feed(greetingBytes())
    inner.feed(replyBytes(nbd.NBD_OPT_LIST, nbd.NBD_REP_SERVER, wire([32, 4096], 'short')))
    expect(inner.failure?.name).toBe('ProtocolError')
  })

  test('CVE-2017-7539: unexpected bytes during negotiation do not crash the server', () => {
    const hello = clientBytes([nbd.NBD_OPT_LIST, wire()], [nbd.NBD_OPT_GO, goRequest])
    for (let at = 0; at < hello.length; at++) {
      const server = serverHandshake()
      const mutated = hello.slice()
      mutated[at]! ^= 0xff
      server.feed(mutated)
      expect(['failed', 'haggling', 'transmission']).toContain(server.state)
      if (at < 4) expect(server.state).toBe('failed')
    }
  })

  test('CVE-2017-9524: a client that goes away at any byte does not crash the server', () => {
    const hello = clientBytes([nbd.NBD_OPT_LIST, wire()], [nbd.NBD_OPT_GO, goRequest])
    for (let length = 0; length < hello.length; length++) {
      const server = serverHandshake()
      server.feed(hello.subarray(0, length))
      server.close('client went away')
      expect(server.state).toBe('failed')
      server.feed(hello.subarray(length))
      expect([server.state, server.result]).toEqual(['failed', undefined])
    }
  })

  test('CVE-2017-15119: an option of 4 GiB costs the server nothing', () => {
    const server = serverHandshake()
    server.feed(clientBytes())
    server.feed(wire('IHAVEOPT', [32, nbd.NBD_OPT_LIST], [32, 0xffffffff]))
    expect(server.state).toBe('failed')
    server.feed(new Uint8Array(1024 * 1024))
    expect(server.takeLeftover()).toHaveLength(0)
  })

  test('CVE-2024-7409: a session can be closed in every state, and stays closed', async () => {
    const reach: readonly ((server: ServerHandshake) => void)[] = [
      () => {},
      server => server.feed(clientBytes()),
      server => server.feed(wire(clientBytes(), 'IHAVE')),
      server => server.feed(clientBytes([nbd.NBD_OPT_STARTTLS, wire()])),
    ]
    const states = reach.map(prepare => {
      const server = serverHandshake({ tls: 'optional' })
      prepare(server)
      const { state } = server
      server.close('timeout')
      server.feed(clientBytes([nbd.NBD_OPT_GO, goRequest]))
      expect([server.state, server.result]).toEqual(['failed', undefined])
      return state
    })
    expect(states).toEqual(['client-flags', 'haggling', 'haggling', 'starting-tls'])
    // And a peer that says nothing does not hold a client for ever either.
    const connecting = NbdClient.connect(silentStream(), { handshakeTimeoutMs: 20 })
    await expect(connecting).rejects.toMatchObject({ code: 'timeout' })
  })
})

describe('libnbd', () => {
  test('CVE-2019-14842: a client that requires TLS is never talked out of it', () => {
    const refusals = [
      nbd.NBD_REP_ERR_UNSUP,
      nbd.NBD_REP_ERR_POLICY,
      nbd.NBD_REP_ERR_INVALID,
      nbd.NBD_REP_ERR_PLATFORM,
      nbd.NBD_REP_ERR_SHUTDOWN,
      nbd.NBD_REP_INFO,
    ]
    for (const type of refusals) {
      const client = new ClientHandshake({ exportName: 'secret', tls: 'require' })
      client.feed(greetingBytes())
      client.takeOutput()
      client.feed(replyBytes(nbd.NBD_OPT_STARTTLS, type))
      expect(client.state).toBe('failed')
      expect(Buffer.from(client.takeOutput()).includes('secret')).toBe(false)
    }
    for (const flags of [0, nbd.NBD_FLAG_NO_ZEROES]) {
      const client = new ClientHandshake({ exportName: 'secret', tls: 'require' })
      client.feed(greetingBytes(flags))
      expect(client.state).toBe('failed')
      expect(Buffer.from(client.takeOutput()).includes('secret')).toBe(false)
    }
  })

  test('CVE-2019-14842: bytes behind the reply to STARTTLS do not count as encrypted', () => {
    const client = new ClientHandshake({ tls: 'require' })
    client.feed(greetingBytes())
    const injected = replyBytes(nbd.NBD_OPT_STRUCTURED_REPLY, nbd.NBD_REP_ACK)
    client.feed(wire(replyBytes(nbd.NBD_OPT_STARTTLS, nbd.NBD_REP_ACK), injected))
    expect(client.state).toBe('failed')
  })

  test('CVE-2022-0485: a read that failed is never mistaken for data', async () => {
    const done = nbd.NBD_REPLY_FLAG_DONE
    const whole = 'x'.repeat(512)
    const replies = [
      (cookie: number) => new Replies().data(cookie, 0, whole).error(cookie, 5, '', done),
      (cookie: number) => new Replies().error(cookie, 5, '').data(cookie, 0, whole, done),
      (cookie: number) => new Replies().error(cookie, 5, '').none(cookie),
      (cookie: number) => new Replies().data(cookie, 0, 'x', done),
    ]
    for (const reply of replies) {
      const server = new ScriptedServer({
        onRequest: ({ cookie }, to) => to.send(reply(cookie).finish()),
      })
      const client = await NbdClient.connect(server.client)
      await expect(client.read(0, 512)).rejects.toThrow()
      await client.disconnect()
    }
  })

  test.each([2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n])(
    'CVE-2023-5215: a size of %d is refused and not negative or rounded',
    size => {
      const bytes = new Uint8Array(12)
      const view = new DataView(bytes.buffer)
      view.setBigUint64(2, size)
      view.setUint16(10, nbd.NBD_FLAG_HAS_FLAGS)
      const client = new ClientHandshake({ tls: 'off', structuredReplies: false })
      client.feed(greetingBytes())
      client.feed(replyBytes(nbd.NBD_OPT_GO, nbd.NBD_REP_INFO, bytes))
      client.feed(replyBytes(nbd.NBD_OPT_GO, nbd.NBD_REP_ACK))
      expect([client.state, client.result]).toEqual(['failed', undefined])
    },
  )

  test('CVE-2023-5871: block status that was not asked for does not crash the client', () => {
    const cases = [
      {
        sent: request(1, nbd.NBD_CMD_READ, 0, 512),
        contexts: [{ id: 1, name: 'base:allocation' }],
      },
      { sent: request(1, nbd.NBD_CMD_WRITE, 0, 512), contexts: [] },
      { sent: request(1, nbd.NBD_CMD_BLOCK_STATUS, 0, 512), contexts: [] },
    ]
    for (const type of [nbd.NBD_REPLY_TYPE_BLOCK_STATUS, nbd.NBD_REPLY_TYPE_BLOCK_STATUS_EXT]) {
      for (const { sent, contexts } of cases) {
        const parser = new nbd.ReplyParser({ structuredReplies: true, contexts, onReply() {} })
        parser.expect(sent)
        const payload = wire([32, 1], [32, 512], [32, 0])
        const bytes = new Replies().chunk(1, type, payload, nbd.NBD_REPLY_FLAG_DONE).finish()
        expect(() => parser.feed(bytes)).toThrow(nbd.ProtocolError)
      }
    }
  })
})

describe('nbdkit', () => {
  test('CVE-2021-3716: STARTTLS forgets what was negotiated in the clear', () => {
    const server = serverHandshake({ tls: 'optional' })
    server.feed(clientBytes([nbd.NBD_OPT_STRUCTURED_REPLY, wire()]))
    const query = wire([32, 4], 'disk', [32, 1], [32, 15], 'base:allocation')
    server.feed(optionBytes(nbd.NBD_OPT_SET_META_CONTEXT, query))
    server.feed(optionBytes(nbd.NBD_OPT_STARTTLS))
    expect(server.state).toBe('starting-tls')
    server.tlsEstablished()
    server.feed(optionBytes(nbd.NBD_OPT_GO, goRequest))
    expect(server.result).toMatchObject({ structuredReplies: false, contexts: [] })
  })

  test('CVE-2021-3716: bytes behind STARTTLS in the clear end the session', () => {
    for (const injected of [optionBytes(nbd.NBD_OPT_STRUCTURED_REPLY), wire('I')]) {
      const server = serverHandshake({ tls: 'optional' })
      server.takeOutput()
      server.feed(wire(clientBytes([nbd.NBD_OPT_STARTTLS, wire()]), injected))
      expect(server.state).toBe('failed')
      expect(server.takeOutput()).toHaveLength(0)
      const late = serverHandshake({ tls: 'optional' })
      late.takeOutput()
      late.feed(clientBytes([nbd.NBD_OPT_STARTTLS, wire()]))
      expect(parseReplies(late.takeOutput()).map(([, type]) => type)).toEqual([nbd.NBD_REP_ACK])
      late.feed(injected)
      expect(late.state).toBe('failed')
    }
  })

  test('CVE-2025-47711: an extent of 4 GiB and more is cut, never wrapped to 0', () => {
    const view = new DataView(new ArrayBuffer(8))
    for (const length of [2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 52]) {
      const put = nbd.putExtent(view, 0, length, nbd.NBD_STATE_HOLE)
      expect(view.getUint32(0)).toBe(put)
      expect(put).toBeGreaterThan(0)
      expect(put % nbd.NBD_MINIMUM_BLOCK_MAX).toBe(0)
    }
  })

  test('CVE-2025-47712: a request near 4 GiB stays within 32 bits on the wire', async () => {
    const size = 2 ** 34
    const server = new ScriptedServer({
      info: { size, flags: nbd.NBD_FLAG_SEND_TRIM },
      onRequest: ({ cookie, command, length }, to) =>
        to.send(
          command === nbd.NBD_CMD_TRIM
            ? new Replies().none(cookie).finish()
            : new Replies().blockStatus(cookie, 1, [[length, 0]], 1).finish(),
        ),
    })
    const client = await NbdClient.connect(server.client)
    const length = 2 ** 32 - 512
    await client.trim(512, length)
    expect(await client.blockStatus(512, length)).toEqual([{ length, hole: false, zero: false }])
    const sums = [nbd.NBD_CMD_TRIM, nbd.NBD_CMD_BLOCK_STATUS].map(command =>
      server.requests
        .filter(each => each.command === command)
        .reduce((sum, each) => sum + each.length, 0),
    )
    expect(sums).toEqual([length, length])
    await client.disconnect()
  })
})
