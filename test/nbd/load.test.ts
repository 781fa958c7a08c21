/** Many clients that come and go while all of them write and read, with every byte verified. */
import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { Random } from '../support/random.ts'
import { TestServer } from './server.ts'
import { until } from './until.ts'

const KIB = 1024
const CLIENTS = 64
const REGION = 128 * KIB

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

describe.each(ENGINE_NAMES)('load on %s', engine => {
  test('64 clients that come and go read what they wrote', async () => {
    const disk = new MemoryDevice(CLIENTS * REGION)
    await using server = await TestServer.open(engine, chain(checked, disk))
    const before = descriptors()
    let [writes, writtenBytes, readBytes] = [0, 0, 0]
    /** One client's life: it owns a region, and some of its lives end without a word. */
    const live = async (index: number, round: number): Promise<void> => {
      const random = new Random(index * 100 + round)
      const client = await server.raw()
      const length = 512 * (1 + random.below(REGION / 512 / 4))
      const offset = index * REGION + random.below(REGION - length)
      const payload = random.bytes(length)
      const { error } = await client.request({ command: 1, offset, payload })
      expect(error).toBe(0)
      const { data } = await client.request({ command: 0, offset, length })
      expect(Buffer.compare(data, payload)).toBe(0)
      writes++
      writtenBytes += length
      readBytes += length
      if (random.chance(0.5)) client.socket.end()
      await client.die()
    }
    for (let round = 0; round < 2; round++) {
      await Promise.all(Array.from({ length: CLIENTS }, (_, index) => live(index, round)))
    }
    await until(() => server.departures.length === 2 * CLIENTS)
    expect(server.counters.all()).toMatchObject({
      writes,
      writtenBytes,
      reads: writes,
      readBytes,
      errors: 0,
      connections: 0,
    })
    expect(server.refusals).toEqual([])
    await until(() => descriptors() <= before)
  })

  test('requests are counted by kind, and bytes only if they were moved', async () => {
    await using server = await TestServer.open(engine, chain(checked, new MemoryDevice(REGION)))
    const client = await server.client()
    await client.write(0, new Uint8Array(1000))
    await client.read(0, 100)
    await client.trim(0, 4096)
    await client.writeZeroes(4096, 8192)
    await client.flush()
    await client.cache(0, 512)
    await client.blockStatus(0, 4096)
    await client.disconnect()
    const failing = await server.raw()
    await failing.request({ command: 0, length: 2 ** 32 - 1 })
    await failing.request({ command: 1, offset: REGION, payload: new Uint8Array(300) })
    await failing.request({ command: 6, offset: REGION, length: 512 })
    expect(server.counters.all()).toEqual({
      reads: 2,
      readBytes: 100,
      writes: 2,
      writtenBytes: 1000,
      flushes: 1,
      trims: 1,
      trimmedBytes: 4096,
      writeZeroes: 2,
      zeroedBytes: 8192,
      otherRequests: 2,
      errors: 3,
      connections: 1,
    })
  })
})
