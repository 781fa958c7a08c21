/**
 * The handshake with clients that do not mean it, or cannot: none of them costs more than itself.
 */
import { once } from 'node:events'
import { readdirSync, writeFileSync } from 'node:fs'
import type net from 'node:net'
import { Duplex, PassThrough } from 'node:stream'
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE, NbdClient } from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { negotiate } from '../../src/nbd/negotiation.ts'
import { TlsConnection } from '../../src/tls/tls-connection.ts'
import { startTls } from '../../src/tls/tls-stream.ts'
import { Random } from '../support/random.ts'
import { type Temporary, temporary } from '../support/temporary.ts'
import { requestBytes } from './raw-client.ts'
import { TestServer, type TestServerOptions } from './server.ts'
import { until } from './until.ts'

const MIB = 1024 * 1024
const KEY = '00112233445566778899aabbccddeeff'
const OTHER_KEY = 'ffeeddccbbaa99887766554433221100'
const TLS_KEYS = new Map([['alice', Buffer.from(KEY, 'hex')]])
const CLIENT_FLAGS = Buffer.from([0, 0, 0, 3])
const NBD_OPT_EXPORT_NAME = 1
const NBD_OPT_ABORT = 2
const NBD_OPT_LIST = 3
const NBD_OPT_STARTTLS = 5

function option(number: number, length = 0): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.write('IHAVEOPT', 'latin1')
  bytes.writeUInt32BE(number, 8)
  bytes.writeUInt32BE(length, 12)
  return bytes
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** A connected client with what the server says first taken in; it stays deaf afterwards. */
async function greeted(server: TestServer, ...bytes: readonly Buffer[]): Promise<net.Socket> {
  const socket = await server.dial()
  socket.once('data', () => socket.write(Buffer.concat([CLIENT_FLAGS, ...bytes])))
  await once(socket, 'data')
  return socket
}

function tlsOptions(folder: Temporary, username: string, key: string) {
  const pskFile = folder.file(`${username}-${key}`)
  writeFileSync(pskFile, `${username}:${key}\n`)
  return { tls: { pskFile, username } }
}

describe.each(ENGINE_NAMES)('negotiation on %s', engine => {
  const open = (options: TestServerOptions = {}) =>
    TestServer.open(engine, chain(checked, new MemoryDevice(4 * MIB)), options)

  test.each([
    ['random bytes', [new Random(3).bytes(4096)]],
    ['an HTTP request', [Buffer.from('GET / HTTP/1.1\r\nHost: disk\r\n\r\n')]],
    ['an option of the greatest length', [CLIENT_FLAGS, option(NBD_OPT_LIST, 2 ** 32 - 1)]],
    ['unknown client flags', [Buffer.from([0xff, 0, 0, 3])]],
  ])('%s end that connection and no other', async (_, bytes) => {
    await using server = await open()
    const good = await server.raw()
    const bad = await server.dial()
    bad.resume().write(Buffer.concat(bytes))
    await once(bad, 'close')
    await until(() => server.refusals.length === 1)
    expect((await good.request({ command: NBD_CMD_FLUSH })).error).toBe(0)
  })

  test('a client that has gone in the middle is one refusal', async () => {
    await using server = await open()
    const socket = await greeted(server, option(NBD_OPT_LIST).subarray(0, 9))
    socket.destroy()
    await until(() => server.refusals.length === 1)
    expect(server.refusals).toEqual(['the peer closed the connection during the handshake'])
  })

  test('a client that says goodbye and stays does not keep its descriptor here', async () => {
    await using server = await open()
    const before = descriptors()
    const sockets: net.Socket[] = []
    for (let index = 0; index < 4; index++) {
      const socket = await greeted(server, option(NBD_OPT_ABORT), Buffer.alloc(100_000))
      sockets.push(socket.pause())
    }
    await until(() => descriptors() <= before + sockets.length)
    for (const socket of sockets) socket.destroy()
    expect(server.refusals).toEqual([])
  })

  test('a client that breaks the protocol and reads nothing is closed all the same', async () => {
    await using server = await open()
    const before = descriptors()
    const lists = Array.from({ length: 200 }, () => option(NBD_OPT_LIST))
    const socket = await greeted(server, ...lists, Buffer.alloc(16))
    socket.pause()
    await until(() => server.refusals.length === 1)
    await until(() => descriptors() <= before + 1)
    socket.destroy()
  })

  test('TLS serves reads and writes of any size, and leaves no descriptor', async () => {
    await using folder = await temporary()
    await using server = await open({ tlsKeys: TLS_KEYS })
    const before = descriptors()
    const options = tlsOptions(folder, 'alice', KEY)
    const client = await NbdClient.connect(await server.dial(), options)
    const data = new Random(5).bytes(3 * MIB)
    await client.write(4096, data)
    expect((await client.read(4096, data.length)).equals(data)).toBe(true)
    await client.disconnect()
    await until(() => descriptors() <= before)
  })

  test('a TLS client that takes no replies is not served on', async () => {
    await using folder = await temporary()
    await using server = await open({ tlsKeys: TLS_KEYS })
    const before = descriptors()
    const options = tlsOptions(folder, 'alice', KEY)
    const socket = await server.dial()
    // TLS takes what comes out of the socket itself, paused or not, but not out of a pipe.
    const received = socket.pipe(new PassThrough())
    const stream = Duplex.from({ readable: received, writable: socket })
    const client = await NbdClient.connect(stream, options)
    socket.unpipe(received).pause()
    const reads = Array.from({ length: 60 }, () => client.read(0, 4 * MIB).catch(() => undefined))
    await until(() => server.counters.get('reads') > 0)
    let served = 0
    while (server.counters.get('reads') > served) {
      served = server.counters.get('reads')
      await new Promise(resolve => setTimeout(resolve, 500))
    }
    expect(served).toBeLessThan(30)
    socket.destroy()
    await Promise.all(reads)
    await until(() => descriptors() <= before)
  })

  test.each([
    ['another key', 'alice', OTHER_KEY],
    ['an unknown identity', 'mallory', KEY],
  ])('%s is refused, once, and others are not disturbed', async (_, username, key) => {
    await using folder = await temporary()
    await using server = await open({ tlsKeys: TLS_KEYS })
    const good = await NbdClient.connect(await server.dial(), tlsOptions(folder, 'alice', KEY))
    const wrong = tlsOptions(folder, username, key)
    await expect(NbdClient.connect(await server.dial(), wrong)).rejects.toThrow()
    await until(() => server.refusals.length > 0)
    expect(server.refusals).toEqual(['TLS handshake failed: the client has another key'])
    await good.flush()
    await good.disconnect()
  })

  test.each([
    ['with the request for TLS', 0],
    ['after it was granted', 50],
  ])('requests in the clear %s are not obeyed', async (_, pauseMs) => {
    await using server = await open({ tlsKeys: TLS_KEYS })
    const before = descriptors()
    const evil = requestBytes({ command: NBD_CMD_WRITE, payload: new Uint8Array(512).fill(1) })
    const socket =
      pauseMs === 0
        ? await greeted(server, option(NBD_OPT_STARTTLS), evil)
        : await greeted(server, option(NBD_OPT_STARTTLS))
    await new Promise(resolve => setTimeout(resolve, pauseMs))
    if (pauseMs > 0) socket.write(evil)
    socket.resume()
    if (!socket.closed) await once(socket, 'close')
    await until(() => server.refusals.length === 1)
    expect(server.counters.get('writes')).toBe(0)
    await until(() => descriptors() <= before)
  })

  /** A client in its own words behind TLS. */
  async function secureClient(server: TestServer): Promise<Duplex> {
    const socket = await greeted(server, option(NBD_OPT_STARTTLS))
    await once(socket, 'data')
    const identity = { identity: 'alice', key: Buffer.from(KEY, 'hex') }
    return await startTls(socket, TlsConnection.client(identity))
  }

  test('with TLS an export may be chosen the old way', async () => {
    await using server = await open({ tlsKeys: TLS_KEYS })
    const client = await secureClient(server)
    client.write(
      Buffer.concat([
        option(NBD_OPT_EXPORT_NAME),
        requestBytes({ command: NBD_CMD_READ, length: 512 }),
      ]),
    )
    const chunks: Buffer[] = []
    client.on('data', bytes => chunks.push(bytes))
    await until(() => Buffer.concat(chunks).length === 10 + 16 + 512)
    client.destroy()
  })

  test('with TLS a client that breaks the protocol is turned away for it at once', async () => {
    await using server = await open({ tlsKeys: TLS_KEYS })
    const client = await secureClient(server)
    client.write(Buffer.alloc(16, 1))
    await until(() => server.refusals.length === 1)
    expect(server.refusals[0]).toMatch(/magic/)
    client.destroy()
  })

  test('without TLS nothing is served that has keys', async () => {
    await using server = await open({ tlsKeys: TLS_KEYS })
    await expect(server.raw()).rejects.toThrow(/TLS/)
  })
})

test('a client that chooses no export is turned away in time', async () => {
  await using server = await TestServer.open('libuv', new MemoryDevice(512))
  const [ours, theirs] = await server.acceptAlone()
  const options = { exports: new Map(), defaultExport: '', tlsKeys: undefined }
  const negotiated = negotiate(ours, options, 20)
  await expect(negotiated).rejects.toThrow('chose no export within 0.02 s')
  theirs.resume()
  await once(theirs, 'close')
})

test('a request sent right behind the last option is not lost', async () => {
  const disk = new MemoryDevice(new Random(6).bytes(4096))
  await using server = await TestServer.open('uring', chain(checked, disk))
  const read = requestBytes({ command: NBD_CMD_READ, cookie: 9, length: 512 })
  const socket = await greeted(server, option(NBD_OPT_EXPORT_NAME), read)
  const chunks: Buffer[] = []
  socket.on('data', bytes => chunks.push(bytes))
  await until(() => Buffer.concat(chunks).length >= 10 + 16 + 512)
  const reply = Buffer.concat(chunks).subarray(-528)
  expect(reply.readUInt32BE(12)).toBe(9)
  expect(reply.subarray(16).equals(disk.bytes.subarray(0, 512))).toBe(true)
  socket.destroy()
})
