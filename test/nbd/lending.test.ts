/** Payloads that a device keeps after its answer, as the mirror does for a target that is late. */
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import type { Completion, Request } from '../../src/block/request.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { TestServer } from './server.ts'
import { until } from './until.ts'

const SLOTS = [{ payload: 4096, count: 2 }]

/** Keeps every write until the test lets it go. */
class BorrowingDevice implements BlockDevice, Completion {
  readonly info: DeviceInfo
  readonly borrowed: Request[] = []
  readonly #next: BlockDevice

  constructor(next: BlockDevice) {
    this.info = next.info
    this.#next = next
  }

  submit(request: Request): void {
    if (request.command === NBD_CMD_WRITE) request.push(this)
    this.#next.submit(request)
  }

  completed(request: Request): void {
    request.lend()
    this.borrowed.push(request)
    request.complete(request.error)
  }

  /** The value in all of the oldest payload, as it is now. */
  get value(): number {
    const { memory, memoryOffset, length } = this.borrowed[0]!
    const bytes = memory!.bytes.subarray(memoryOffset, memoryOffset + length)
    return new Set(bytes).size === 1 ? bytes[0]! : -1
  }

  giveBack(): void {
    this.borrowed.shift()!.giveBack()
  }

  close(): Promise<void> {
    return this.#next.close()
  }
}

const write = (value: number) => ({
  command: NBD_CMD_WRITE,
  payload: new Uint8Array(4096).fill(value),
})

describe.each(ENGINE_NAMES)('lending on %s', engine => {
  const open = async () => {
    const device = new BorrowingDevice(new MemoryDevice(1024 * 1024))
    return {
      device,
      server: await TestServer.open(engine, chain(checked, device), { slots: SLOTS }),
    }
  }

  test(
    'a payload stays as it is until it is given ' + 'back, whatever is served meanwhile',
    async () => {
      const { device, server } = await open()
      await using _ = server
      const client = await server.raw()
      expect((await client.request(write(7))).error).toBe(0)
      const other = await server.raw()
      for (let round = 0; round < 10; round++) {
        expect((await other.request({ command: NBD_CMD_READ, length: 4096 })).data[0]).toBe(7)
      }
      expect(device.value).toBe(7)
      device.giveBack()
      expect((await client.request(write(8))).error).toBe(0)
      expect(device.value).toBe(8)
      device.giveBack()
    },
  )

  test('so it does when its client has gone', async () => {
    const { device, server } = await open()
    await using _ = server
    const client = await server.raw()
    client.send(write(7))
    await until(() => device.borrowed.length === 1)
    await client.die()
    await until(() => server.departures.length === 1)
    const next = await server.raw()
    expect((await next.request(write(8))).error).toBe(0)
    expect(device.value).toBe(7)

    // Both slots are lent: who needs one waits, who needs none does not.
    const third = await server.raw()
    third.send(
      { command: NBD_CMD_FLUSH, cookie: 1 },
      { command: NBD_CMD_READ, cookie: 2, length: 512 },
    )
    expect(await third.reply()).toMatchObject({ cookie: 1, error: 0 })
    expect(server.counters.get('reads')).toBe(0)
    device.giveBack()
    expect(await third.reply()).toMatchObject({ cookie: 2, error: 0 })
    expect(device.value).toBe(8)
    device.giveBack()
  })

  test('given back before the reply has left, it is free once that has', async () => {
    const { device, server } = await open()
    await using _ = server
    const client = await server.raw()
    for (let round = 1; round < 20; round++) {
      client.send(write(round))
      await until(() => device.borrowed.length === 1)
      expect(device.value).toBe(round)
      device.giveBack()
      expect((await client.reply()).error).toBe(0)
    }
  })
})
