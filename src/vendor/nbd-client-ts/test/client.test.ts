// NbdClient against servers that answer late, wrongly or not at all.

import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import * as nbd from '../src/index.ts'
import { NbdClient } from '../src/index.ts'
import { wire } from './support/handshake.ts'
import { Replies } from './support/replies.ts'
import {
  ScriptedServer,
  type ScriptedServerOptions,
  silentStream,
} from './support/scripted-server.ts'

const DONE = nbd.NBD_REPLY_FLAG_DONE
const flags =
  nbd.NBD_FLAG_SEND_FLUSH |
  nbd.NBD_FLAG_SEND_FUA |
  nbd.NBD_FLAG_SEND_TRIM |
  nbd.NBD_FLAG_SEND_WRITE_ZEROES

async function connected(
  options: ScriptedServerOptions,
  clientOptions: nbd.NbdClientOptions = {},
): Promise<{ server: ScriptedServer; client: NbdClient }> {
  const server = new ScriptedServer({ ...options, info: { flags, ...options.info } })
  return { server, client: await NbdClient.connect(server.client, clientOptions) }
}

/** Waits until `condition` holds; the test's own timeout is the limit. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn()
}

const acknowledge: ScriptedServerOptions['onRequest'] = ({ cookie }, server) =>
  server.send(new Replies().none(cookie).finish())

describe('requests', () => {
  test('are on the wire up to the limit, and replies may come in any order', async () => {
    const { server, client } = await connected({}, { inFlightMax: 4 })
    const settled: number[] = []
    const writes = [0, 1, 2, 3, 4, 5].map(async index => {
      await client.write(index * 512, Buffer.alloc(512, index))
      settled.push(index)
    })
    await until(() => server.requests.length === 4)
    for (let turns = 0; turns < 5; turns++) await turn()
    expect(server.requests).toHaveLength(4)
    server.send(new Replies().none(server.requests[3]!.cookie).finish())
    await until(() => server.requests.length === 5)
    expect(settled).toEqual([3])
    for (const index of [2, 1, 0, 4]) {
      server.send(new Replies().none(server.requests[index]!.cookie).finish())
    }
    await until(() => server.requests.length === 6)
    server.send(new Replies().none(server.requests[5]!.cookie).finish())
    await Promise.all(writes)
    expect(server.requests.map(({ data }) => data[0])).toEqual([0, 1, 2, 3, 4, 5])
    await client.disconnect()
  })

  test('wait while the stream is full', async () => {
    const { server, client } = await connected({ onRequest: acknowledge })
    const block = Buffer.alloc(256 * 1024)
    const buffered: number[] = []
    const writes = [0, 1, 2, 3].map(index => {
      const writing = client.write(index * block.length, block)
      buffered.push(server.client.writableLength)
      return writing
    })
    // The first write fills the stream; the others are not pushed into its buffer on top.
    expect(Math.max(...buffered)).toBe(nbd.REQUEST_SIZE + block.length)
    await Promise.all(writes)
    expect(server.requests).toHaveLength(4)
    await client.disconnect()
  })

  test('carry their flags', async () => {
    const { server, client } = await connected({ onRequest: acknowledge })
    await client.write(0, Buffer.alloc(512), { fua: true })
    await client.writeZeroes(512, 512, { noHole: true, fua: true })
    await client.trim(0, 1024)
    await client.flush()
    expect(
      server.requests.map(({ command, flags, offset, length }) => [command, flags, offset, length]),
    ).toEqual([
      [nbd.NBD_CMD_WRITE, nbd.NBD_CMD_FLAG_FUA, 0, 512],
      [nbd.NBD_CMD_WRITE_ZEROES, nbd.NBD_CMD_FLAG_NO_HOLE | nbd.NBD_CMD_FLAG_FUA, 512, 512],
      [nbd.NBD_CMD_TRIM, 0, 0, 1024],
      [nbd.NBD_CMD_FLUSH, 0, 0, 0],
    ])
    await client.disconnect()
  })

  test('larger than the payload limit are split, and fail if a part does', async () => {
    const blockSize = { minimum: 512, preferred: 4096, maximum: 4096 + 100 }
    const { server, client } = await connected({
      info: { blockSize },
      onRequest: ({ cookie, offset }, to) =>
        to.send(
          offset === 8192
            ? new Replies().error(cookie, nbd.NBD_EIO, 'worn out', DONE).finish()
            : new Replies().none(cookie).finish(),
        ),
    })
    await client.write(512, Buffer.alloc(4096 + 1024))
    expect(server.requests.map(({ offset, length }) => [offset, length])).toEqual([
      [512, 4096],
      [4608, 1024],
    ])
    const failing = client.write(0, Buffer.alloc(16384))
    await expect(failing).rejects.toMatchObject({ code: 'EIO', value: 5 })
    await expect(failing).rejects.toThrow('write offset=8192 length=4096 (worn out): EIO')
    expect(server.requests).toHaveLength(6)
    await client.disconnect()
  })

  test('that the protocol forbids are refused without being sent', async () => {
    const { server, client } = await connected({ info: { flags: nbd.NBD_FLAG_READ_ONLY } })
    const refused = [
      [client.write(0, Buffer.alloc(512)), 'EPERM'],
      [client.flush(), 'ENOTSUP'],
      [client.trim(0, 512), 'ENOTSUP'],
      [client.writeZeroes(0, 512), 'ENOTSUP'],
      [client.cache(0, 512), 'ENOTSUP'],
      [client.read(1, 512), 'EINVAL'],
      [client.read(0, 100), 'EINVAL'],
      [client.read(-512, 512), 'EINVAL'],
      [client.read(0.5, 512), 'EINVAL'],
      [client.read(1024 * 1024, 512), 'EINVAL'],
    ] as const
    for (const [request, code] of refused) {
      await expect(request).rejects.toMatchObject({ name: 'NbdError', code })
    }
    expect(server.requests).toHaveLength(0)
    await client.disconnect()
  })

  test('for block status go on until the range is covered', async () => {
    const { server, client } = await connected({
      onRequest: ({ cookie, offset }, to) => {
        const extents =
          offset === 0
            ? [
                [4096, 0],
                [4096, 0],
              ]
            : [
                [4096, 3],
                [2 ** 20, 3],
              ]
        to.send(new Replies().blockStatus(cookie, 1, extents as [number, number][], DONE).finish())
      },
    })
    expect(await client.blockStatus(0, 16384)).toEqual([
      { length: 8192, hole: false, zero: false },
      { length: 8192, hole: true, zero: true },
    ])
    expect(server.requests.map(({ offset, length }) => [offset, length])).toEqual([
      [0, 16384],
      [8192, 8192],
    ])
    await client.disconnect()
  })
})

describe('the end', () => {
  test('disconnect waits for what is in flight and then says NBD_CMD_DISC', async () => {
    const { server, client } = await connected({})
    const reading = client.read(0, 512)
    await until(() => server.requests.length === 1)
    const disconnecting = client.disconnect()
    await expect(client.read(0, 512)).rejects.toMatchObject({ name: 'ConnectionError' })
    expect(server.isDisconnected).toBe(false)
    server.send(new Replies().hole(server.requests[0]!.cookie, 0, 512, DONE).finish())
    expect(await reading).toEqual(Buffer.alloc(512))
    await disconnecting
    expect(server.isDisconnected).toBe(true)
    expect(client.isConnected).toBe(false)
  })

  test('a server that shuts down is left after its last reply', async () => {
    const { server, client } = await connected({
      onRequest: ({ cookie }, to) =>
        to.send(new Replies().error(cookie, nbd.NBD_ESHUTDOWN, '', DONE).finish()),
    })
    await expect(client.read(0, 512)).rejects.toMatchObject({ code: 'ESHUTDOWN' })
    await until(() => server.isDisconnected)
    await client.disconnect()
  })

  test('one broken rule fails every request with the same ProtocolError', async () => {
    const { server, client } = await connected({}, { inFlightMax: 2 })
    const requests = [client.read(0, 512), client.write(0, Buffer.alloc(512)), client.flush()]
    const outcomes = Promise.allSettled(requests)
    await until(() => server.requests.length === 2)
    server.send(wire([32, 0xdeadbeef]))
    for (const outcome of await outcomes) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { name: 'ProtocolError' } })
    }
    expect(server.client.destroyed).toBe(true)
    await client.disconnect()
  })

  test('a server that closes in the middle of a reply fails the request', async () => {
    const { client } = await connected({
      onRequest: ({ cookie }, to) => {
        to.send(new Replies().data(cookie, 0, 'half', 0).finish())
        to.close()
      },
    })
    await expect(client.read(0, 512)).rejects.toMatchObject({ name: 'ConnectionError' })
    await client.disconnect()
  })

  test('a reply that never comes is a timeout that ends the connection', async () => {
    const { client } = await connected({}, { requestTimeoutMs: 30 })
    await expect(client.read(0, 512)).rejects.toMatchObject({ code: 'timeout' })
    expect(client.isConnected).toBe(false)
    await client.disconnect()
  })

  test('a handshake that never comes is a timeout', async () => {
    const stream = silentStream()
    const connecting = NbdClient.connect(stream, { handshakeTimeoutMs: 30 })
    await expect(connecting).rejects.toMatchObject({ name: 'ConnectionError', code: 'timeout' })
    expect(stream.destroyed).toBe(true)
  })

  test('a stream that is already gone is a ConnectionError', async () => {
    const stream = silentStream()
    stream.destroy()
    await expect(NbdClient.connect(stream)).rejects.toMatchObject({ name: 'ConnectionError' })
  })

  test('more waiting requests than the queue holds are refused at once', async () => {
    const { server, client } = await connected({}, { inFlightMax: 1 })
    const count = nbd.QUEUED_REQUESTS_MAX + 2
    const outcomes = Promise.allSettled(Array.from({ length: count }, () => client.flush()))
    await until(() => server.requests.length === 1)
    server.close()
    const codes = (await outcomes).map(it => it.status === 'rejected' && it.reason.code)
    expect(codes.filter(code => code === 'queue-full')).toHaveLength(1)
    expect(codes.filter(code => code === 'closed')).toHaveLength(count - 1)
  })
})
