/**
 * Clients that are gone while the disk still works for them, and those that come after: a late
 * write of the former must not destroy what the latter were told is written.
 */
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { DelayedDevice } from '../support/delayed-device.ts'
import { DISCONNECT } from './raw-client.ts'
import { TestServer } from './server.ts'
import { until } from './until.ts'

const KIB = 1024
const MIB = 1024 * KIB

const write = (value: number) => ({
  command: NBD_CMD_WRITE,
  payload: new Uint8Array(512).fill(value),
})

describe.each(ENGINE_NAMES)('connections of the dead on %s', engine => {
  test.each([false, true])('a new client waits for them (over TCP: %s)', async tcp => {
    const disk = new MemoryDevice(MIB)
    const delayed = new DelayedDevice(disk)
    await using server = await TestServer.open(engine, chain(checked, delayed), { tcp })
    const old = await server.raw()
    old.send(write(1))
    await until(() => delayed.held.length === 1)
    await old.die()
    let isServed = false
    const next = server.raw().then(async client => {
      isServed = true
      client.send(write(2))
      await until(() => delayed.held.length === 1)
      delayed.release()
      return await client.reply()
    })
    await until(() => server.counters.get('connections') === 2)
    await new Promise(resolve => setTimeout(resolve, 20))
    expect(isServed).toBe(false)
    expect(delayed.held).toHaveLength(1)
    delayed.release()
    expect((await next).error).toBe(0)
    expect(disk.bytes[0]).toBe(2)
  })

  test('a new client does not wait for those that live', async () => {
    const delayed = new DelayedDevice(new MemoryDevice(MIB))
    await using server = await TestServer.open(engine, chain(checked, delayed))
    const alive = await server.raw()
    alive.send(write(1))
    await until(() => delayed.held.length === 1)
    const next = await server.raw()
    next.send(write(2))
    await until(() => delayed.held.length === 2)
    delayed.releaseAll()
    expect((await alive.reply()).error).toBe(0)
    expect((await next.reply()).error).toBe(0)
  })

  test('nor longer than a grace for one that has gone but takes no replies', async () => {
    await using server = await TestServer.open(engine, chain(checked, new MemoryDevice(32 * MIB)), {
      tcp: true,
    })
    const hostage = await server.raw({ allowHalfOpen: true })
    hostage.socket.pause()
    hostage.send({ command: NBD_CMD_READ, length: 32 * MIB })
    hostage.socket.write(DISCONNECT)
    hostage.socket.end()
    await until(() => server.counters.get('reads') === 1)
    const next = await server.raw()
    expect((await next.request({ command: NBD_CMD_FLUSH })).error).toBe(0)
    await hostage.die()
  })

  test('a client that waits for the dead is dropped by a stop', async () => {
    const delayed = new DelayedDevice(new MemoryDevice(MIB))
    await using server = await TestServer.open(engine, chain(checked, delayed))
    const old = await server.raw()
    old.send(write(1))
    await until(() => delayed.held.length === 1)
    await old.die()
    const next = server.raw()
    next.catch(() => undefined)
    await until(() => server.counters.get('connections') === 2)
    const stopped = server.stop(0)
    await expect(next).rejects.toThrow()
    delayed.releaseAll()
    await stopped
    expect(server.counters.get('connections')).toBe(0)
  })

  test('a flush covers the writes of every connection', async () => {
    const delayed = new DelayedDevice(new MemoryDevice(MIB))
    await using server = await TestServer.open(engine, chain(checked, delayed))
    const [writer, flusher] = [await server.raw(), await server.raw()]
    writer.send(write(1))
    await until(() => delayed.held.length === 1)
    delayed.release()
    expect((await writer.reply()).error).toBe(0)
    flusher.send({ command: NBD_CMD_FLUSH })
    await until(() => delayed.held.length === 1)
    // It reaches the one device that also took the write, after it: there is nothing else to flush.
    expect(delayed.held[0]!.command).toBe(NBD_CMD_FLUSH)
    delayed.fail(5)
    expect((await flusher.reply()).error).toBe(5)
  })
})
