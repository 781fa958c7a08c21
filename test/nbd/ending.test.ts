/** How connections end: what was asked before is answered where it can be, and nothing is left. */
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { Gate } from '../../src/block/gate.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { DelayedDevice } from '../support/delayed-device.ts'
import { DISCONNECT, requestBytes } from './raw-client.ts'
import { TestServer } from './server.ts'
import { until } from './until.ts'

const MIB = 1024 * 1024

describe.each(ENGINE_NAMES)('the end of a connection on %s', engine => {
  test('after a disconnect request those before it are answered, then it is closed', async () => {
    const delayed = new DelayedDevice(new MemoryDevice(MIB))
    await using server = await TestServer.open(engine, chain(checked, delayed))
    const client = await server.raw()
    client.send(
      { command: NBD_CMD_WRITE, cookie: 1, payload: new Uint8Array(512).fill(7) },
      { command: NBD_CMD_READ, cookie: 2, length: 4096 },
    )
    client.socket.write(DISCONNECT)
    await until(() => delayed.held.length === 2)
    delayed.release(1)
    delayed.release()
    const replies = await client.rest()
    expect(replies.map(({ cookie, error }) => [cookie, error])).toEqual([
      [2, 0],
      [1, 0],
    ])
    await until(() => server.departures.length === 1)
    expect(server.departures).toEqual(['client disconnected'])
  })

  test('a request behind a disconnect request is not looked at', async () => {
    const disk = new MemoryDevice(MIB)
    await using server = await TestServer.open(engine, chain(checked, disk))
    const client = await server.raw()
    const late = requestBytes({ command: NBD_CMD_WRITE, payload: new Uint8Array(512).fill(7) })
    client.socket.write(Buffer.concat([DISCONNECT, late]))
    await client.ended()
    expect(disk.bytes[0]).toBe(0)
    expect(server.counters.get('writes')).toBe(0)
  })

  test('a write whose data ends early is never executed', async () => {
    const disk = new MemoryDevice(MIB)
    await using server = await TestServer.open(engine, chain(checked, disk))
    for (const length of [512, 64 * 1024, 512 * 1024]) {
      const client = await server.raw()
      const whole = requestBytes({
        command: NBD_CMD_WRITE,
        payload: new Uint8Array(length).fill(9),
      })
      const count = server.departures.length
      await new Promise(sent => client.socket.write(whole.subarray(0, whole.length - 1), sent))
      await client.die()
      await until(() => server.departures.length > count)
    }
    expect(server.counters.get('writes')).toBe(0)
    expect(disk.bytes.includes(9)).toBe(false)
  })

  test('a soft stop answers what is under way and takes no more', async () => {
    const disk = new MemoryDevice(MIB)
    const delayed = new DelayedDevice(disk)
    await using server = await TestServer.open(engine, chain(checked, delayed))
    const [busy, idle] = [await server.raw(), await server.raw()]
    busy.send({ command: NBD_CMD_WRITE, cookie: 1, payload: new Uint8Array(512).fill(7) })
    await until(() => delayed.held.length === 1)
    const stopped = server.stop(600_000)
    busy.send({ command: NBD_CMD_WRITE, cookie: 2, payload: new Uint8Array(512).fill(8) })
    await idle.ended()
    expect(delayed.held).toHaveLength(1)
    delayed.release()
    expect(await busy.reply()).toMatchObject({ cookie: 1, error: 0 })
    await stopped
    await busy.ended()
    expect(disk.bytes[0]).toBe(7)
  })

  test(
    'a stop does not wait longer than its deadline ' + 'for a client that takes nothing',
    async () => {
      await using server = await TestServer.open(engine, chain(checked, new MemoryDevice(32 * MIB)))
      const client = await server.raw()
      client.socket.pause()
      client.send({ command: NBD_CMD_READ, length: 32 * MIB })
      await until(() => server.counters.get('reads') === 1)
      await server.stop(100)
      expect(server.departures).toEqual(['the server stopped'])
    },
  )

  test('a stop drops clients that a gate holds, without an error reply', async () => {
    const disk = new MemoryDevice(MIB)
    let gate!: Gate
    const device = chain(
      checked,
      next => {
        gate = new Gate(next)
        return gate
      },
      disk,
    )
    await using server = await TestServer.open(engine, device)
    const client = await server.raw()
    await gate.quiesce()
    client.send({ command: NBD_CMD_WRITE, payload: new Uint8Array(512).fill(7) })
    await until(() => gate.parked === 1)
    const stopped = server.stop(0)
    await gate.close()
    await stopped
    expect(await client.rest()).toEqual([])
    expect(disk.bytes[0]).toBe(0)
  })

  test('a client that dies in the middle of a long reply leaves nothing behind', async () => {
    const disk = new MemoryDevice(32 * MIB)
    await using server = await TestServer.open(engine, chain(checked, disk))
    for (let round = 0; round < 2; round++) {
      const client = await server.raw()
      client.socket.pause()
      client.send({ command: NBD_CMD_READ, length: 32 * MIB })
      await until(() => server.counters.get('reads') === round + 1)
      await client.die()
      await until(() => server.departures.length === round + 1)
    }
    const client = await server.raw()
    const reply = await client.request({ command: NBD_CMD_READ, length: 32 * MIB })
    expect(reply.data.length).toBe(32 * MIB)
  })

  test('a client that closes its half is gone', async () => {
    await using server = await TestServer.open(engine, chain(checked, new MemoryDevice(MIB)), {
      tcp: true,
    })
    const client = await server.raw({ allowHalfOpen: true })
    expect((await client.request({ command: NBD_CMD_FLUSH })).error).toBe(0)
    client.socket.end()
    await client.ended()
    await until(() => server.departures.length === 1)
    expect(server.departures).toEqual(['peer closed the connection'])
  })
})
