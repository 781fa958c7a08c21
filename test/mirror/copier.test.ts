import { NBD_CMD_WRITE, NBD_CMD_WRITE_ZEROES } from 'nbd-client-ts'
import { expect, it } from 'vitest'
import { MemoryDevice } from '../../src/block/memory.ts'
import { bitmapFileBytes, createBitmapFile } from '../../src/mirror/bitmap-file.ts'
import { BUSY_MS, BUSY_OPERATIONS_MAX, Copier } from '../../src/mirror/copier.ts'
import { Target } from '../../src/mirror/target.ts'
import { heapMemory } from '../support/requests.ts'
import { VirtualClock } from '../support/virtual-clock.ts'
import { GRANULARITY, MoodyDevice } from './set-up.ts'

const OPERATIONS = 4
const LENGTH = 4 * GRANULARITY

function createCopier(chunks: number, tail = 0) {
  const size = chunks * GRANULARITY + tail
  const clock = new VirtualClock()
  const source = new MemoryDevice(size)
  const target = new MoodyDevice(new MemoryDevice(size))
  const identity = { disk: 'disk', target: 'target', size, granularity: GRANULARITY }
  const tracking = createBitmapFile(new Uint8Array(bitmapFileBytes(size, GRANULARITY)), identity)
  const guest = { lastRequestAt: -Infinity }
  const failures: string[] = []
  const copier = new Copier({
    source,
    tracking,
    clock,
    guest,
    memory: Array.from({ length: OPERATIONS }, () => heapMemory(LENGTH)),
    listener: { copied: () => {}, copyFailed: side => failures.push(side), copierIdle: () => {} },
  })
  const begin = () => copier.start(new Target(target, tracking))
  const writes = () => target.seen.filter(({ command }) => command === NBD_CMD_WRITE)
  return { clock, source, target, tracking, guest, copier, begin, writes, failures }
}

it('merges adjacent dirty chunks up to its memory, and copies an odd end', () => {
  const { source, target, tracking, begin, writes } = createCopier(10, 700)
  source.bytes.fill(5)
  begin()
  expect(writes().map(({ offset, length }) => [offset / GRANULARITY, length])).toEqual([
    [0, LENGTH],
    [4, LENGTH],
    [8, 2 * GRANULARITY + 700],
  ])
  expect(Buffer.compare(source.bytes, target.next.bytes)).toBe(0)
  expect(tracking.bitmap.dirtyCount).toBe(0)
})

it('copies only what is dirty', () => {
  const { source, tracking, begin, writes } = createCopier(32)
  source.bytes.fill(5)
  tracking.bitmap.clear(0, 32)
  tracking.bitmap.set(3, 5)
  tracking.bitmap.set(20, 21)
  begin()
  expect(writes().map(({ offset, length }) => [offset, length])).toEqual([
    [3 * GRANULARITY, 2 * GRANULARITY],
    [20 * GRANULARITY, GRANULARITY],
  ])
})

it('sends no holes as data: zeroes them, or skips them where the target reads zeroes', () => {
  for (const isTargetEmpty of [true, false]) {
    const { source, target, begin, writes, copier } = createCopier(64)
    source.bytes.fill(5, 0, GRANULARITY)
    if (!isTargetEmpty) target.next.bytes.fill(9)
    begin()
    expect(writes()).toHaveLength(1)
    const zeroed = target.seen.filter(({ command }) => command === NBD_CMD_WRITE_ZEROES)
    expect(zeroed).toHaveLength(isTargetEmpty ? 0 : 1)
    expect(copier.skippedBytes + copier.zeroedBytes).toBe(63 * GRANULARITY)
    expect(Buffer.compare(source.bytes, target.next.bytes)).toBe(0)
  }
})

it('has no more under way than it has memory for', () => {
  const { source, target, begin, copier, writes } = createCopier(64)
  source.bytes.fill(5)
  target.isHung = true
  begin()
  expect(copier.operationsCount).toBe(OPERATIONS)
  expect(writes()).toHaveLength(OPERATIONS)
})

it('guest requests come first', () => {
  const { clock, source, target, guest, begin, copier } = createCopier(64)
  source.bytes.fill(5)
  target.isHung = true
  guest.lastRequestAt = 0
  begin()
  expect(copier.operationsCount).toBe(BUSY_OPERATIONS_MAX)
  clock.advance(2 * BUSY_MS)
  expect(copier.operationsCount).toBe(OPERATIONS)
})

it('while the clients wait neither guest nor bandwidth holds it back', () => {
  const { source, target, guest, begin, copier } = createCopier(64)
  source.bytes.fill(5)
  target.isHung = true
  guest.lastRequestAt = 0
  copier.bandwidth = 1
  begin()
  copier.isHurried = true
  expect(copier.operationsCount).toBe(OPERATIONS)
})

it('keeps to the bandwidth, and to a new one from when it is set', () => {
  const { clock, source, begin, copier } = createCopier(4096)
  source.bytes.fill(5)
  const rate = 256 * GRANULARITY
  copier.bandwidth = rate
  begin()
  clock.advance(4000)
  const first = copier.copiedBytes
  expect(first / rate).toBeGreaterThan(3.9)
  expect(first / rate).toBeLessThan(4.3)
  copier.bandwidth = 4 * rate
  clock.advance(1000)
  expect((copier.copiedBytes - first) / rate).toBeGreaterThan(3.8)
  expect((copier.copiedBytes - first) / rate).toBeLessThan(4.5)
  copier.bandwidth = 0
  expect(copier.copiedBytes).toBe(source.bytes.length)
})

it('chunks whose copy has failed are dirty again', () => {
  const { source, target, tracking, copier, begin, failures } = createCopier(4)
  source.bytes.fill(5)
  target.isHung = true
  begin()
  expect(tracking.bitmap.dirtyCount).toBe(0)
  expect(tracking.isSynced).toBe(false)
  copier.stop()
  void target.close()
  expect(failures).toEqual(['target'])
  expect(tracking.bitmap.dirtyCount).toBe(4)
})
