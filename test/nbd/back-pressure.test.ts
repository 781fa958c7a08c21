/** Clients that ask for more than they take: they wait, in bounded memory, and nobody else does. */
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { DelayedDevice } from '../support/delayed-device.ts'
import { requestBytes } from './raw-client.ts'
import { TestServer } from './server.ts'
import { until } from './until.ts'

const KIB = 1024
const MIB = 1024 * KIB

describe.each(ENGINE_NAMES)('back-pressure on %s', engine => {
  test('a client that takes no replies is not served on, and others are', async () => {
    const disk = new MemoryDevice(32 * MIB)
    await using server = await TestServer.open(engine, chain(checked, disk))
    const greedy = await server.raw()
    greedy.socket.pause()
    const reads = Buffer.concat([
      requestBytes({ command: NBD_CMD_READ, length: 32 * MIB }),
      ...Array.from({ length: 5000 }, () => requestBytes({ command: NBD_CMD_READ, length: 4096 })),
      ...Array.from({ length: 500 }, () => requestBytes({ command: NBD_CMD_READ, length: MIB })),
    ])
    greedy.socket.write(reads)
    await until(() => server.counters.get('reads') > 10)
    const modest = await server.raw()
    for (let round = 0; round < 100; round++) {
      const length = [512, 4096, 100 * KIB, 4 * MIB][round % 4]!
      const read = { command: NBD_CMD_READ, cookie: round, length }
      expect(await modest.request(read)).toMatchObject({ cookie: round, error: 0 })
    }
    const payload = new Uint8Array(4 * MIB).fill(1)
    expect((await modest.request({ command: NBD_CMD_WRITE, payload })).error).toBe(0)
    expect(server.counters.get('reads')).toBeLessThan(500)
    await greedy.die()
    expect((await modest.request({ command: NBD_CMD_FLUSH })).error).toBe(0)
  })

  test('a client that stopped is served to the end once it takes its replies', async () => {
    const disk = new MemoryDevice(MIB)
    await using server = await TestServer.open(engine, chain(checked, disk))
    const client = await server.raw()
    client.socket.pause()
    const count = 2000
    for (let cookie = 0; cookie < count; cookie++) {
      client.send({ command: NBD_CMD_READ, cookie, length: 4096 })
    }
    await until(() => server.counters.get('reads') > 10)
    client.socket.resume()
    const seen = new Set<number>()
    for (let index = 0; index < count; index++) seen.add((await client.reply()).cookie)
    expect(seen.size).toBe(count)
  })

  test('who waits for a large slot does not keep those waiting who need a small one', async () => {
    const delayed = new DelayedDevice(new MemoryDevice(4 * MIB))
    const slots = [
      { payload: 4096, count: 1 },
      { payload: MIB, count: 1 },
    ]
    await using server = await TestServer.open(engine, chain(checked, delayed), { slots })
    const [first, second, third] = [await server.raw(), await server.raw(), await server.raw()]
    const large = { command: NBD_CMD_READ, length: MIB }
    const small = { command: NBD_CMD_READ, length: 512 }
    first.send(large)
    await until(() => delayed.held.length === 1)
    second.send(small, large)
    await until(() => delayed.held.length === 2)
    third.send(small)
    await until(() => server.counters.get('connections') === 3)
    await new Promise(resolve => setTimeout(resolve, 20))
    expect(delayed.held).toHaveLength(2)
    delayed.release(1)
    expect((await second.reply()).data.length).toBe(512)
    await until(() => delayed.held.length === 2)
    delayed.release(1)
    expect((await third.reply()).data.length).toBe(512)
    delayed.release()
    expect((await first.reply()).data.length).toBe(MIB)
    await until(() => delayed.held.length === 1)
    delayed.release()
    expect((await second.reply()).data.length).toBe(MIB)
  })
})
