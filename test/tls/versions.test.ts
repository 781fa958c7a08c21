/** Our TLS and Node's understand each other in either role, in both versions, and are strict. */
import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import * as tls from 'node:tls'
import { describe, expect, test } from 'vitest'
import { takeOver } from '../../src/nbd/handshake-stream.ts'
import { TlsConnection } from '../../src/tls/tls-connection.ts'
import { startTls } from '../../src/tls/tls-stream.ts'
import { expectBytes } from '../support/bytes.ts'
import { Random } from '../support/random.ts'

const KEY = Buffer.alloc(32, 7)
const SUITES = 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256'
const OLD_SUITES = 'PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384'
/** More than the rings hold. */
const LENGTH = 1_000_001

async function connected(): Promise<[net.Socket, net.Socket]> {
  const listener = net.createServer({ pauseOnConnect: true })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const client = net.connect((listener.address() as net.AddressInfo).port, '127.0.0.1')
  const [server] = (await once(listener, 'connection')) as [net.Socket]
  listener.close()
  return [client, server]
}

function optionsFor(version: tls.SecureVersion, ciphers: string): tls.ConnectionOptions {
  return {
    minVersion: version,
    maxVersion: version,
    // Or Node, as a server, would choose a group too small for us.
    ciphers: version === 'TLSv1.2' ? `${ciphers}:@SECLEVEL=2` : ciphers,
    pskCallback: () => ({ identity: 'alice', psk: KEY }),
    checkServerIdentity: () => undefined,
  }
}

function bytesOf(stream: Duplex, length: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = []
    let sum = 0
    stream.once('close', () => reject(new Error(`closed after ${sum} bytes`)))
    stream.on('data', (piece: Buffer) => {
      pieces.push(piece)
      sum += piece.length
      if (sum >= length) resolve(Buffer.concat(pieces))
    })
  })
}

describe.each([
  ['TLSv1.3', SUITES],
  ['TLSv1.3', 'TLS_CHACHA20_POLY1305_SHA256'],
  ['TLSv1.2', OLD_SUITES],
  ['TLSv1.2', 'DHE-PSK-AES128-GCM-SHA256'],
  ['TLSv1.2', 'ECDHE-PSK-CHACHA20-POLY1305'],
] as const)('%s with %s', (version, ciphers) => {
  test('is spoken to a client, both ways', async () => {
    const [near, far] = await connected()
    const client = tls.connect({ ...optionsFor(version, ciphers), socket: near })
    client.on('error', () => {})
    const server = await startTls(far, TlsConnection.server(new Map([['alice', KEY]])))
    const data = new Random(1).bytes(LENGTH)
    server.write(data)
    expectBytes(await bytesOf(client, LENGTH), data)
    client.write(data)
    expectBytes(await bytesOf(server, LENGTH), data)
    const group = client.getEphemeralKeyInfo() as tls.EphemeralKeyInfo | null
    if (group?.type === 'DH') expect(group.size).toBeGreaterThanOrEqual(2048)
    server.destroy()
  })

  test('is spoken to a server, both ways', async () => {
    const [near, far] = await connected()
    const server = new tls.TLSSocket(far, {
      isServer: true,
      dhparam: 'auto',
      ...optionsFor(version, ciphers),
      pskCallback: (_socket: tls.TLSSocket, identity: string) =>
        identity === 'alice' ? KEY : null,
    } as unknown as tls.TLSSocketOptions)
    const client = await startTls(near, TlsConnection.client({ identity: 'alice', key: KEY }))
    const data = new Random(2).bytes(LENGTH)
    client.write(data)
    expectBytes(await bytesOf(server, LENGTH), data)
    server.write(data)
    expectBytes(await bytesOf(client, LENGTH), data)
    client.destroy()
  })
})

test('no version before 1.2 is spoken', async () => {
  const [near, far] = await connected()
  const options = optionsFor('TLSv1.1', 'PSK-AES128-CBC-SHA:@SECLEVEL=0')
  const client = tls.connect({ ...options, socket: near })
  client.on('error', () => {})
  await expect(
    startTls(far, TlsConnection.server(new Map([['alice', KEY]]))),
  ).rejects.toMatchObject({ name: 'TlsError', message: 'unsupported protocol' })
  client.destroy()
})

test('a connection whose peer has gone cannot be taken over', async () => {
  const [near, far] = await connected()
  const [server] = await Promise.all([
    startTls(far, TlsConnection.server(new Map([['alice', KEY]]))),
    startTls(near, TlsConnection.client({ identity: 'alice', key: KEY })),
  ])
  near.resetAndDestroy()
  await new Promise(resolve => server.once('close', resolve))
  expect(() => takeOver(server, new Uint8Array())).toThrow('the peer closed the connection')
})

test('who sends on after its good-bye is not listened to without end', async () => {
  const [near, far] = await connected()
  const [server, client] = await Promise.all([
    startTls(far, TlsConnection.server(new Map([['alice', KEY]]))),
    startTls(near, TlsConnection.client({ identity: 'alice', key: KEY })),
  ])
  client.stop()
  const connection = TlsConnection.adopt(client.detach())
  connection.shutdown()
  near.write(connection.take())
  near.write(Buffer.alloc(1_000_000))
  const failed = once(server.resume(), 'error')
  expect(((await failed) as [Error])[0].message).toBe('the peer broke the protocol')
  connection.free()
  near.destroy()
})
