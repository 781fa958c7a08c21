/** Clients of a serving process, honest and dishonest ones, several at a time, on both engines. */
import { readFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { NbdClient } from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { CONTROL_VERSION } from '../../src/control/messages.ts'
import {
  blkferry,
  ENGINES,
  fastFolder,
  firstDifference,
  makeDisk,
  startServe,
} from '../support/blkferry.ts'
import { decodeFrames, encodeAnything } from '../support/control-frames.ts'
import { Random } from '../support/random.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const SIZE = 4 * 1024 * 1024
const CLIENTS = 6
const AREA = SIZE / CLIENTS - ((SIZE / CLIENTS) % 4096)

describe.each(ENGINES)('serve on %s', engine => {
  const words = ['--engine', engine]

  test('gives every client what any of them has written', async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    await using serve = await startServe(folder, 'serve', { path, words })
    const clients = await Promise.all(
      Array.from({ length: CLIENTS }, () => NbdClient.connect(serve.uri)),
    )
    const written = clients.map((_, index) => new Random(index + 1).bytes(AREA))
    await Promise.all(
      clients.map(async (client, index) => {
        for (let at = 0; at < AREA; at += 4096) {
          await client.write(index * AREA + at, written[index]!.subarray(at, at + 4096))
        }
        await client.flush()
      }),
    )
    for (const [index, client] of clients.entries()) {
      const other = (index + 1) % CLIENTS
      const read = await client.read(other * AREA, AREA)
      expect(Buffer.compare(read, written[other]!)).toBe(0)
    }
    await clients[0]!.trim(0, 4096)
    await clients[0]!.writeZeroes(4096, 4096)
    expect(await clients[1]!.read(4096, 4096)).toEqual(Buffer.alloc(4096))
    await Promise.all(clients.map(client => client.disconnect()))
    await serve.stop()
    expect(await serve.ended).toBe(0)
    const content = await readFile(path)
    expect(Buffer.compare(content.subarray(AREA, AREA * 2), written[1]!)).toBe(0)
  })

  for (const [name, bytes] of Object.entries(dishonest())) {
    test(`drops a client that sends ${name}, and no other`, async () => {
      await using folder = await temporary(await fastFolder())
      const path = await makeDisk(folder.file('disk'), SIZE)
      const before = await makeDisk(folder.file('before'), SIZE)
      await using serve = await startServe(folder, 'serve', { path, words })
      await using honest = await NbdClient.connect(serve.uri)
      await isDropped(folder.file('serve.nbd'), bytes, name.endsWith('early'))
      expect((await honest.read(0, 4096)).length).toBe(4096)
      expect(await firstDifference(path, before)).toBeUndefined()
    })
  }
})

/** From the client's flags on; the magic is at the beginning of every option and request. */
function dishonest(): Readonly<Record<string, Buffer>> {
  const flags = Buffer.from('00000003', 'hex')
  const option = (id: number, length: number, data = Buffer.alloc(0)) => {
    const head = Buffer.alloc(16)
    head.write('IHAVEOPT')
    head.writeUInt32BE(id, 8)
    head.writeUInt32BE(length, 12)
    return Buffer.concat([head, data])
  }
  // NBD_OPT_GO for the default export, without information requests.
  const go = option(7, 6, Buffer.alloc(6))
  const request = (magic: number, type: number, length: number) => {
    const bytes = Buffer.alloc(28)
    bytes.writeUInt32BE(magic)
    bytes.writeUInt16BE(type, 6)
    bytes.writeUInt32BE(length, 24)
    return bytes
  }
  const write = 1
  return {
    'no option at all': Buffer.concat([flags, Buffer.from('GET / HTTP/1.1\r\n\r\n')]),
    'flags that nobody knows': Buffer.from('ffffffff', 'hex'),
    'an option of 4 GiB': Buffer.concat([flags, option(3, 0xffffffff)]),
    'an option that ends early': Buffer.concat([flags, option(7, 600).subarray(0, 12)]),
    'a request with another magic': Buffer.concat([flags, go, request(0x25609514, write, 512)]),
    'a write of 4 GiB that ends early': Buffer.concat([
      flags,
      go,
      request(0x25609513, write, 0xffffffff),
    ]),
    'a write that ends early': Buffer.concat([flags, go, request(0x25609513, write, 4096)]),
  }
}

/** Sends the bytes, and nothing more if `isEnd`; settles when the server has closed. */
async function isDropped(path: string, bytes: Buffer, isEnd: boolean): Promise<void> {
  const socket = connect(path)
  socket.resume()
  const closed = new Promise<void>(resolve => socket.on('close', () => resolve()))
  // That the server resets the connection is as good as that it closes it.
  socket.on('error', () => {})
  socket.write(bytes)
  if (isEnd) socket.end()
  await closed
}

describe('the control socket', () => {
  async function ask(folder: Temporary, bytes: Uint8Array): Promise<unknown[]> {
    const socket: Socket = connect(folder.file('serve.control'))
    const chunks: Buffer[] = []
    socket.on('data', chunk => chunks.push(chunk))
    const closed = new Promise<void>(resolve => socket.on('close', () => resolve()))
    socket.end(bytes)
    await closed
    return decodeFrames(Buffer.concat(chunks))
  }

  test('refuses messages of another version and what is no message, and lives on', async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    await using serve = await startServe(folder, 'serve', { path })
    const version = CONTROL_VERSION + 1
    const other = encodeAnything({ version, id: 1, verb: 'status', params: {} })
    expect(await ask(folder, other)).toMatchObject([{ error: { code: 'version' } }])
    const unknown = { version: CONTROL_VERSION, id: 1, verb: 'eject', params: {} }
    expect(await ask(folder, encodeAnything(unknown))).toMatchObject([
      { error: { code: 'unknown-verb' } },
    ])
    expect(await ask(folder, Buffer.from('ffffffff00', 'hex'))).toMatchObject([
      { error: { code: 'malformed' } },
    ])
    const { code } = await blkferry('status', '--control', folder.file('serve.control'), '--json')
    expect(code).toBe(0)
    expect(serve.pid).toBeGreaterThan(0)
  })
})
