import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from 'nbd-client-ts'
import { beforeEach, describe, expect, it } from 'vitest'
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import { EIO, ENOTSUP } from '../../src/block/errno.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import type { Request } from '../../src/block/request.ts'
import { Copier } from '../../src/mirror/copier.ts'
import { Target } from '../../src/mirror/target.ts'
import type { Tracking } from '../../src/mirror/tracking.ts'
import { DelayedDevice } from '../support/delayed-device.ts'
import { FaultyDevice } from '../support/faulty-device.ts'
import { CHUNK, createMemory, createTracking } from '../support/mirror.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const CHUNKS = 64
const SIZE = CHUNKS * CHUNK
/** Bytes of one operation. */
const LENGTH = 8 * CHUNK

/** Notes what is submitted and passes it on. */
class RecordedDevice implements BlockDevice {
  readonly info: DeviceInfo
  readonly log: { command: number; flags: number; offset: number; length: number }[] = []
  readonly #next: BlockDevice

  constructor(next: BlockDevice) {
    this.#next = next
    this.info = next.info
  }

  submit(request: Request): void {
    const { command, flags, offset, length } = request
    this.log.push({ command, flags, offset, length })
    this.#next.submit(request)
  }

  sum(command: number): number {
    return this.log.reduce((sum, entry) => sum + (entry.command === command ? entry.length : 0), 0)
  }

  async close(): Promise<void> {}
}

let clock: VirtualClock
let tracking: Tracking
let source: MemoryDevice
let failures: string[]
let guest: { lastRequestAt: number }

beforeEach(() => {
  clock = new VirtualClock()
  tracking = createTracking(SIZE)
  source = new MemoryDevice(SIZE)
  failures = []
  guest = { lastRequestAt: -Infinity }
})

function createCopier(below: BlockDevice = source, operations = 4): Copier {
  const copier: Copier = new Copier({
    source: below,
    tracking,
    clock,
    guest,
    memory: createMemory(operations, LENGTH),
    listener: {
      copied: () => {},
      copyFailed: (side, _, error, offset) => {
        failures.push(`${side} ${error} ${offset}`)
        copier.backOff(10)
      },
      copierIdle: () => {},
    },
  })
  return copier
}

function copyTo(device: BlockDevice, copier = createCopier()): Copier {
  copier.start(new Target(device, tracking))
  clock.advance(1000)
  return copier
}

describe('the copier', () => {
  it('makes the target equal and everything clean', () => {
    for (let i = 0; i < SIZE; i += 512) source.bytes[i] = 1 + (i % 251)
    const target = new MemoryDevice(SIZE)
    target.bytes.fill(0xee)
    const copier = copyTo(target)
    expect(Buffer.compare(target.bytes, source.bytes)).toBe(0)
    expect(tracking.isSynced).toBe(true)
    expect(copier.copiedBytes).toBe(SIZE)
  })

  it('asks for holes once, and after the first pass not where a run is short', () => {
    source.bytes.fill(1, 0, SIZE / 2)
    const below = new RecordedDevice(source)
    const target = new MemoryDevice(SIZE)
    const copier = copyTo(target, createCopier(below))
    const asked = below.log.filter(({ command }) => command === NBD_CMD_BLOCK_STATUS).length
    source.bytes.fill(2, 0, CHUNK)
    source.bytes.fill(0, CHUNK, 3 * CHUNK)
    tracking.bitmap.set(0, 3)
    copier.wake()
    clock.advance(1000)
    expect(Buffer.compare(target.bytes, source.bytes)).toBe(0)
    const after = below.log.filter(({ command }) => command === NBD_CMD_BLOCK_STATUS).length
    expect([asked > 0, after - asked]).toEqual([true, 0])
  })

  it('copies adjacent dirty chunks in one piece, up to the length of its memory', () => {
    source.bytes.fill(1)
    tracking.bitmap.clear(0, CHUNKS)
    tracking.bitmap.set(3, 5)
    tracking.bitmap.set(10, 30)
    const target = new RecordedDevice(new MemoryDevice(SIZE))
    copyTo(target)
    const writes = target.log.filter(({ command }) => command === NBD_CMD_WRITE)
    expect(writes.map(({ offset, length }) => [offset / CHUNK, length / CHUNK])).toEqual([
      [3, 2],
      [10, 8],
      [18, 8],
      [26, 4],
    ])
  })

  it('sends no holes as data, and nothing where the target reads zero already', () => {
    source.bytes.fill(1, 20 * CHUNK, 22 * CHUNK)
    const target = new RecordedDevice(new MemoryDevice(SIZE))
    const disk = new RecordedDevice(source)
    const copier = copyTo(target, createCopier(disk))
    expect(target.sum(NBD_CMD_WRITE)).toBe(2 * CHUNK)
    expect(target.sum(NBD_CMD_WRITE_ZEROES)).toBe(0)
    expect(disk.sum(NBD_CMD_READ)).toBe(2 * CHUNK)
    expect(copier.skippedBytes).toBe(SIZE - 2 * CHUNK)
  })

  it('zeroes a hole where the target does not read zero, in one piece', () => {
    const bytes = new MemoryDevice(SIZE)
    bytes.bytes.fill(0xee)
    const target = new RecordedDevice(bytes)
    const copier = copyTo(target)
    const zeroes = target.log.filter(({ command }) => command === NBD_CMD_WRITE_ZEROES)
    expect(zeroes.map(({ length }) => length)).toEqual([SIZE])
    expect(copier.zeroedBytes).toBe(SIZE)
    expect(bytes.bytes.every(byte => byte === 0)).toBe(true)
  })

  it('sees zeroes in data that a disk without block status has', () => {
    const blind = new MemoryDevice(SIZE, { canBlockStatus: false })
    blind.bytes[5 * CHUNK] = 1
    const target = new RecordedDevice(new MemoryDevice(SIZE))
    copyTo(target, createCopier(blind))
    expect(target.sum(NBD_CMD_WRITE)).toBeLessThanOrEqual(LENGTH)
  })

  it('zeroes in smaller pieces when the target refuses to be fast', () => {
    const bytes = new MemoryDevice(SIZE)
    bytes.bytes.fill(0xee)
    const target = new FaultyDevice(bytes, ({ flags }) =>
      (flags & NBD_CMD_FLAG_FAST_ZERO) !== 0 ? ENOTSUP : 0,
    )
    copyTo(target)
    expect(failures).toEqual([])
    expect(bytes.bytes.every(byte => byte === 0)).toBe(true)
    expect(tracking.isSynced).toBe(true)
  })

  it('writes zeroes as data to a target that knows nothing else', () => {
    const target = new MemoryDevice(SIZE, { canWriteZeroes: false, canBlockStatus: false })
    target.bytes.fill(0xee)
    copyTo(target)
    expect(target.bytes.every(byte => byte === 0)).toBe(true)
  })

  it('pads the last chunk for a target of larger blocks', () => {
    tracking = createTracking(SIZE - 512)
    source = new MemoryDevice(SIZE - 512)
    source.bytes.fill(3)
    const target = new MemoryDevice(SIZE, { blockSize: 4096 })
    target.bytes.fill(0xee)
    copyTo(target, createCopier(source))
    expect(Buffer.compare(target.bytes.subarray(0, SIZE - 512), source.bytes)).toBe(0)
    expect(tracking.isSynced).toBe(true)
  })

  it('leaves chunks dirty whose copy has failed, and says where', () => {
    source.bytes.fill(1)
    const target = new FaultyDevice(new MemoryDevice(SIZE), ({ command, offset }) =>
      command === NBD_CMD_WRITE && offset === 16 * CHUNK ? EIO : 0,
    )
    const copier = createCopier()
    copier.start(new Target(target, tracking))
    copier.stop()
    expect(failures[0]).toBe(`target ${EIO} ${16 * CHUNK}`)
    expect(tracking.bitmap.isDirty(16)).toBe(true)
    expect(tracking.bitmap.isDirty(0)).toBe(false)
  })
})

describe('how much is under way at once', () => {
  let slow: DelayedDevice

  beforeEach(() => {
    source.bytes.fill(1)
    slow = new DelayedDevice(new MemoryDevice(SIZE))
  })

  it('is bounded by the memory', () => {
    const copier = copyTo(slow)
    expect(slow.held.length).toBe(4)
    expect(copier.operationsCount).toBe(4)
  })

  it('is less while there are guest requests', () => {
    guest.lastRequestAt = 1e9
    copyTo(slow)
    expect(slow.held.length).toBe(2)
  })

  it('is not less for guests when it is hurried', () => {
    guest.lastRequestAt = 1e9
    const copier = createCopier()
    copier.isHurried = true
    copyTo(slow, copier)
    expect(slow.held.length).toBe(4)
  })

  it('keeps to a bandwidth over time, also when that changes', () => {
    const copier = createCopier(source, 1)
    copier.bandwidth = LENGTH
    const target = new RecordedDevice(new MemoryDevice(SIZE))
    copier.start(new Target(target, tracking))
    clock.advance(3000)
    expect(copier.copiedBytes / LENGTH).toBeGreaterThanOrEqual(3)
    expect(copier.copiedBytes / LENGTH).toBeLessThanOrEqual(5)
    copier.bandwidth = 0
    expect(copier.copiedBytes).toBe(SIZE)
  })

  it('passes holes for nothing whatever the bandwidth', () => {
    source.bytes.fill(0)
    const copier = createCopier()
    copier.bandwidth = 1
    copyTo(new MemoryDevice(SIZE), copier)
    expect(tracking.isSynced).toBe(true)
  })

  it('stops at once, and gives back what is under way', () => {
    const copier = copyTo(slow)
    copier.stop()
    slow.releaseAll()
    expect(copier.operationsCount).toBe(0)
    clock.advance(1000)
    expect(slow.held.length).toBe(0)
  })
})

it('a disk that answers block status within the call does not make the copier go round', () => {
  const disk = new RecordedDevice(source)
  source.bytes.fill(1)
  const busy = new DelayedDevice(new MemoryDevice(SIZE))
  const copier = createCopier(disk)
  copyTo(busy, copier)
  const asked = disk.log.filter(({ command }) => command === NBD_CMD_BLOCK_STATUS).length
  expect(asked).toBeLessThan(3)
})
