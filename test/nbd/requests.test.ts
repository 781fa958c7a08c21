/** What a server answers to requests, the illegal ones first: one reply each, then it goes on. */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EIO,
  NBD_EPERM,
  NBD_ESHUTDOWN,
  PAYLOAD_MAX,
} from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { EXTENTS_PER_REPLY_MAX } from '../../src/nbd/replies.ts'
import { expectBytes } from '../support/bytes.ts'
import { FaultyDevice } from '../support/faulty-device.ts'
import { Random } from '../support/random.ts'
import type { RawClient } from './raw-client.ts'
import { requestBytes } from './raw-client.ts'
import { TestServer } from './server.ts'

const MIB = 1024 * 1024

/** The connection is as good as before: a read gives what is there. */
async function expectServed(client: RawClient, disk: MemoryDevice): Promise<void> {
  const reply = await client.request({ command: NBD_CMD_READ, cookie: 77, offset: 512, length: 4 })
  expect(reply).toMatchObject({ cookie: 77, error: 0 })
  expectBytes(reply.data, disk.bytes.subarray(512, 516))
}

describe.each(ENGINE_NAMES)('requests on %s', engine => {
  const disk = new MemoryDevice(new Random(1).bytes(4 * MIB))
  const open = () => TestServer.open(engine, chain(checked, disk))

  test.each([
    ['an offset that no double holds', { command: NBD_CMD_READ, offset: 2n ** 53n, length: 1 }],
    ['the highest offset', { command: NBD_CMD_READ, offset: 2n ** 64n - 1n, length: 1 }],
    ['a trim beyond 2^53', { command: NBD_CMD_TRIM, offset: 2n ** 60n, length: 1 }],
    ['an unknown command', { command: 99, length: 8 }],
    ['an unknown flag', { command: NBD_CMD_READ, flags: 0x100, length: 8 }],
    ['a read above the largest payload', { command: NBD_CMD_READ, length: PAYLOAD_MAX + 1 }],
    ['the longest read', { command: NBD_CMD_READ, length: 2 ** 32 - 1 }],
    ['an empty read', { command: NBD_CMD_READ, length: 0 }],
    ['an empty write', { command: NBD_CMD_WRITE, length: 0 }],
    ['a read past the end', { command: NBD_CMD_READ, offset: 4 * MIB - 1, length: 2 }],
    ['a flush with a length', { command: NBD_CMD_FLUSH, length: 1 }],
  ])('%s is answered with EINVAL', async (_, request) => {
    await using server = await open()
    const client = await server.raw()
    const reply = await client.request({ cookie: 5, ...request })
    expect(reply).toMatchObject({ cookie: 5, error: NBD_EINVAL })
    expect(reply.isStructured).toBe(request.command === NBD_CMD_READ)
    await expectServed(client, disk)
    expect(server.counters.get('errors')).toBe(1)
  })

  test('an illegal write has its data skipped', async () => {
    await using server = await open()
    const client = await server.raw()
    const payload = new Random(2).bytes(3 * MIB)
    const reply = await client.request({ command: NBD_CMD_WRITE, offset: 2n ** 53n, payload })
    expect(reply.error).toBe(NBD_EINVAL)
    await expectServed(client, disk)
  })

  test('a write above the largest payload is skipped and answered with EINVAL', async () => {
    await using server = await open()
    const client = await server.raw()
    const payload = new Uint8Array(PAYLOAD_MAX + 1)
    const reply = await client.request({ command: NBD_CMD_WRITE, payload })
    expect(reply.error).toBe(NBD_EINVAL)
    await expectServed(client, disk)
  })

  test('the data of the longest write goes by without taking memory', async () => {
    await using server = await open()
    const client = await server.raw()
    client.socket.write(requestBytes({ command: NBD_CMD_WRITE, length: 2 ** 32 - 1 }))
    const piece = new Uint8Array(MIB)
    const before = process.memoryUsage().rss
    for (let sent = 0; sent < 64 * MIB; sent += piece.length) {
      await new Promise(taken => client.socket.write(piece, taken))
    }
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * MIB)
    await client.die()
  })

  test('a block status without an agreed context is refused', async () => {
    await using server = await open()
    const client = await server.raw({ contexts: [] })
    const request = { command: NBD_CMD_BLOCK_STATUS, length: 4096 }
    expect(await client.request(request)).toMatchObject({ error: NBD_EINVAL, isStructured: true })
    await expectServed(client, disk)
  })

  test('bad magic ends that connection and no other', async () => {
    await using server = await open()
    const [bad, good] = [await server.raw(), await server.raw()]
    bad.socket.write(new Uint8Array(28).fill(0x55))
    await bad.ended()
    await expectServed(good, disk)
    expect(server.departures).toEqual(['sent something that is not a request'])
  })

  test.each([true, false])('reads and errors come as agreed (structured: %s)', async structured => {
    const faulty = new FaultyDevice(disk, ({ offset }) => (offset === 0 ? NBD_EIO : 0))
    await using server = await TestServer.open(engine, chain(checked, faulty))
    const client = await server.raw({ structuredReplies: structured })
    const read = { command: NBD_CMD_READ, length: 1000 }
    const failed = await client.request({ ...read, cookie: 1 })
    expect(failed).toMatchObject({ isStructured: structured, cookie: 1, error: NBD_EIO })
    const done = await client.request({ ...read, cookie: 2, offset: 1000 })
    expect(done).toMatchObject({ isStructured: structured, cookie: 2, error: 0 })
    expectBytes(done.data, disk.bytes.subarray(1000, 2000))
    const payload = done.data
    const written = await client.request({ command: NBD_CMD_WRITE, offset: 1000, payload })
    expect(written).toMatchObject({ isStructured: false, error: 0 })
  })

  test('errors that the protocol does not know become those it knows', async () => {
    const [EROFS, ENXIO] = [30, 6]
    const faulty = new FaultyDevice(disk, ({ offset }) => offset)
    await using server = await TestServer.open(engine, chain(checked, faulty))
    const client = await server.raw()
    const errorAt = async (offset: number) =>
      (await client.request({ command: NBD_CMD_READ, offset, length: 1 })).error
    expect(await errorAt(EROFS)).toBe(NBD_EPERM)
    expect(await errorAt(ENXIO)).toBe(NBD_EIO)
    expect(await errorAt(NBD_ESHUTDOWN)).toBe(NBD_ESHUTDOWN)
  })

  test('a read-only export refuses whatever changes it', async () => {
    const readOnly = new MemoryDevice(MIB, { isReadOnly: true })
    await using server = await TestServer.open(engine, chain(checked, readOnly))
    const client = await server.raw()
    const payload = new Uint8Array(100_000).fill(1)
    expect((await client.request({ command: NBD_CMD_WRITE, payload })).error).toBe(NBD_EPERM)
    for (const command of [NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES]) {
      expect((await client.request({ command, length: 512 })).error).toBe(NBD_EPERM)
    }
    await expectServed(client, readOnly)
    expect(readOnly.bytes.includes(1)).toBe(false)
  })

  test('a block status is cut to what a reply holds, and to one extent if asked', async () => {
    const striped = new MemoryDevice(8 * MIB)
    for (let at = 0; at < striped.bytes.length; at += 8192) striped.bytes[at] = 1
    await using server = await TestServer.open(engine, chain(checked, striped))
    const client = await server.raw()
    const all = { command: NBD_CMD_BLOCK_STATUS, length: striped.bytes.length }
    const { extents } = await client.request(all)
    expect(extents).toHaveLength(EXTENTS_PER_REPLY_MAX)
    expect(extents.slice(0, 2)).toEqual([
      { length: 4096, flags: 0 },
      { length: 4096, flags: 3 },
    ])
    const one = await client.request({
      ...all,
      flags: NBD_CMD_FLAG_REQ_ONE,
      offset: 4096,
      length: 9000,
    })
    expect(one.extents).toEqual([{ length: 4096, flags: 3 }])
  })
})
