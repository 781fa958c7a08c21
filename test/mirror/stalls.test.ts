import { NBD_CMD_FLUSH, NBD_CMD_WRITE } from 'nbd-client-ts'
import { beforeEach, describe, expect, it } from 'vitest'
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import { ESHUTDOWN } from '../../src/block/errno.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import type { Request } from '../../src/block/request.ts'
import { SILENCE_MS_MAX } from '../../src/mirror/target-record.ts'
import { CHUNK, createMirror, type MirrorParts, runUntil } from '../support/mirror.ts'
import { createRequest, heapMemory, start } from '../support/requests.ts'

const SIZE = 16 * CHUNK
const STALL_MS = 100

/** A target that can be stopped, like a process by SIGSTOP; closing it ends what it owes. */
class StoppableDevice implements BlockDevice {
  readonly info: DeviceInfo
  isStopped = false
  readonly #next: BlockDevice
  #owed: Request[] = []

  constructor(next: BlockDevice) {
    this.#next = next
    this.info = next.info
  }

  submit(request: Request): void {
    if (this.isStopped) this.#owed.push(request)
    else this.#next.submit(request)
  }

  go(): void {
    this.isStopped = false
    const owed = this.#owed
    this.#owed = []
    for (const request of owed) this.#next.submit(request)
  }

  async close(): Promise<void> {
    const owed = this.#owed
    this.#owed = []
    for (const request of owed) request.complete(ESHUTDOWN)
  }
}

let target: StoppableDevice
let bytes: MemoryDevice
let parts: MirrorParts
let connections: number

/** A guest that writes again and again; tells how long its slowest write took. */
async function writeFor(ms: number): Promise<number> {
  const { clock, gate } = parts
  const end = clock.now() + ms
  let slowestMs = 0
  for (let value = 1; clock.now() < end; value++) {
    const offset = (value % 16) * CHUNK + (value % 8) * 512
    const memory = heapMemory(512, value % 256)
    const request = createRequest({ command: NBD_CMD_WRITE, offset, length: 512, memory })
    const startedAt = clock.now()
    const watched = start(gate, request)
    await runUntil(clock, () => watched.outcome !== undefined)
    expect(watched.outcome).toBe(0)
    slowestMs = Math.max(slowestMs, clock.now() - startedAt)
    clock.advance(1)
  }
  return slowestMs
}

beforeEach(async () => {
  bytes = new MemoryDevice(SIZE)
  connections = 0
  const connect = () => {
    connections++
    target = new StoppableDevice(bytes)
    return Promise.resolve(target)
  }
  parts = createMirror(new MemoryDevice(SIZE), connect, { stallMs: STALL_MS })
  void parts.job.start()
  expect(await runUntil(parts.clock, () => parts.job.state === 'ready')).toBe(true)
})

describe('a target that stops for five seconds in write-blocking mode', () => {
  it('keeps no write of the guest waiting for much longer than the stall budget', async () => {
    target.isStopped = true
    expect(await writeFor(5000)).toBeLessThanOrEqual(1.5 * STALL_MS)
    expect(parts.job.status()).toMatchObject({ copyMode: 'background', activelySynced: false })
    expect(parts.job.status().stalls).toBeGreaterThan(0)
  })

  it('is in sync again by itself when it goes on, under the same load', async () => {
    target.isStopped = true
    await writeFor(5000)
    target.go()
    await writeFor(5000)
    expect(parts.job.state).toBe('ready')
    expect(parts.job.status()).toMatchObject({ copyMode: 'write-blocking', activelySynced: true })
    expect(Buffer.compare(bytes.bytes, parts.source.bytes)).toBe(0)
    expect(connections).toBe(1)
  })

  it('keeps a flush of the guest no longer either', async () => {
    target.isStopped = true
    const watched = start(parts.gate, createRequest({ command: NBD_CMD_FLUSH }))
    parts.clock.advance(1.5 * STALL_MS)
    expect(watched.outcome).toBe(0)
  })
})

it('a target that never answers again is connected anew', async () => {
  target.isStopped = true
  await writeFor(SILENCE_MS_MAX + 2000)
  expect(connections).toBe(2)
  await runUntil(parts.clock, () => parts.job.state === 'ready')
  expect(parts.job.state).toBe('ready')
})

it('a switchover with a hung target gives the clients back when its time is over', async () => {
  target.isStopped = true
  const options = { verify: true, resume: false, timeoutMs: 500 }
  let code = ''
  parts.job.complete(options).catch((error: { code: string }) => {
    code = error.code
  })
  const memory = heapMemory(512, 1)
  const held = start(
    parts.gate,
    createRequest({ command: NBD_CMD_WRITE, offset: 0, length: 512, memory }),
  )
  expect(held.outcome).toBeUndefined()
  await runUntil(parts.clock, () => code !== '')
  expect(code).toBe('timeout')
  await runUntil(parts.clock, () => held.outcome !== undefined, 1.5 * STALL_MS)
  expect(held.outcome).toBe(0)
})

it('settings change while it runs', () => {
  parts.job.set({ stallMs: 7, bandwidth: 1000, copyMode: 'background' })
  parts.clock.advance(50)
  expect(parts.job.status()).toMatchObject({
    stallMs: 7,
    bandwidth: 1000,
    copyMode: 'background',
    copyModeChoice: 'background',
  })
})
