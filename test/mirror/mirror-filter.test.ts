import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE } from 'nbd-client-ts'
import { beforeEach, describe, expect, it } from 'vitest'
import { EIO } from '../../src/block/errno.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import type { Request } from '../../src/block/request.ts'
import { MirrorFilter } from '../../src/mirror/mirror-filter.ts'
import { Target } from '../../src/mirror/target.ts'
import type { Tracking } from '../../src/mirror/tracking.ts'
import { DelayedDevice } from '../support/delayed-device.ts'
import { CHUNK, createTracking } from '../support/mirror.ts'
import { createRequest, heapMemory, start } from '../support/requests.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const SIZE = 8 * CHUNK
const STALL_MS = 100

let clock: VirtualClock
let sourceBytes: MemoryDevice
let targetBytes: MemoryDevice
let source: DelayedDevice
let targetDevice: DelayedDevice
let filter: MirrorFilter
let tracking: Tracking
let target: Target
let stalls: number
let failures: number[]

beforeEach(() => {
  clock = new VirtualClock()
  sourceBytes = new MemoryDevice(SIZE)
  targetBytes = new MemoryDevice(SIZE)
  source = new DelayedDevice(sourceBytes)
  targetDevice = new DelayedDevice(targetBytes)
  filter = new MirrorFilter(source, clock)
  tracking = createTracking(SIZE)
  target = new Target(targetDevice, tracking)
  stalls = 0
  failures = []
  filter.stallMs = STALL_MS
})

/** Tracks with everything clean, as after a first pass. */
function attachClean(): void {
  filter.attach(tracking, {
    stalled: () => stalls++,
    targetFailed: (_, error) => failures.push(error),
  })
  tracking.bitmap.clear(0, tracking.bitmap.chunks)
}

function write(offset: number, length: number, value = 1): Request {
  const memory = heapMemory(length, value)
  return createRequest({ command: NBD_CMD_WRITE, offset, length, memory })
}

describe('a mirror filter without tracking', () => {
  it('passes writes through and counts them', () => {
    const watched = start(filter, write(0, 512))
    expect(filter.untrackedCount).toBe(1)
    source.releaseAll()
    expect(watched.outcome).toBe(0)
    expect(filter.untrackedCount).toBe(0)
  })

  it('still counts a write that began before tracking', () => {
    start(filter, write(0, 512))
    attachClean()
    expect(filter.untrackedCount).toBe(1)
    source.releaseAll()
    expect(filter.untrackedCount).toBe(0)
  })
})

describe('in background mode', () => {
  beforeEach(attachClean)

  it('a write is dirty before it reaches the disk, and never reaches the target', () => {
    start(filter, write(CHUNK - 512, 1024))
    expect(tracking.bitmap.dirtyCount).toBe(2)
    expect(source.held.length).toBe(1)
    source.releaseAll()
    expect(targetDevice.held.length).toBe(0)
    expect(tracking.bitmap.dirtyCount).toBe(2)
  })

  it('a write that fails leaves its chunk dirty', () => {
    const watched = start(filter, write(0, 512))
    source.fail(EIO)
    expect(watched.outcome).toBe(EIO)
    expect(tracking.bitmap.isDirty(0)).toBe(true)
  })

  it('a read touches nothing', () => {
    start(filter, createRequest({ command: NBD_CMD_READ, length: 512, memory: heapMemory(512) }))
    expect(tracking.bitmap.dirtyCount).toBe(0)
  })
})

describe('in write-blocking mode', () => {
  beforeEach(() => {
    attachClean()
    filter.forwardTo(target)
  })

  it('a write is answered when both sides have it, and its chunk is clean again', () => {
    const watched = start(filter, write(512, 512, 7))
    expect(tracking.bitmap.isDirty(0)).toBe(true)
    source.releaseAll()
    expect(watched.outcome).toBeUndefined()
    targetDevice.releaseAll()
    expect(watched.outcome).toBe(0)
    expect(tracking.bitmap.dirtyCount).toBe(0)
    expect(targetBytes.bytes).toEqual(sourceBytes.bytes)
    expect(filter.forwardedBytes).toBe(512)
  })

  it('a chunk that was dirty stays so unless it is covered in full', () => {
    tracking.bitmap.set(0, 2)
    start(filter, write(CHUNK - 512, CHUNK + 512))
    source.releaseAll()
    targetDevice.releaseAll()
    expect(tracking.bitmap.isDirty(0)).toBe(true)
    expect(tracking.bitmap.isDirty(1)).toBe(false)
  })

  it('writes to one chunk side by side leave it as it was, the last of them', () => {
    start(filter, write(0, 512))
    start(filter, write(1024, 512))
    source.releaseAll()
    targetDevice.release()
    expect(tracking.bitmap.isDirty(0)).toBe(true)
    expect(tracking.isSynced).toBe(true)
    targetDevice.release()
    expect(tracking.bitmap.isDirty(0)).toBe(false)
  })

  it('a failed target never fails the guest', () => {
    const watched = start(filter, write(0, CHUNK))
    source.releaseAll()
    targetDevice.fail(EIO)
    expect(watched.outcome).toBe(0)
    expect(failures).toEqual([EIO])
    expect(tracking.bitmap.isDirty(0)).toBe(true)
  })

  it('a failed disk fails the guest, and the chunk is copied again', () => {
    const watched = start(filter, write(0, CHUNK))
    targetDevice.releaseAll()
    source.fail(EIO)
    expect(watched.outcome).toBe(EIO)
    expect(tracking.bitmap.isDirty(0)).toBe(true)
  })

  it('overlapping writes reach both sides in the same order', () => {
    start(filter, write(0, 1024, 1))
    start(filter, write(512, 1024, 2))
    expect(source.held.length).toBe(1)
    source.releaseAll()
    targetDevice.releaseAll()
    source.releaseAll()
    targetDevice.releaseAll()
    expect(targetBytes.bytes).toEqual(sourceBytes.bytes)
    expect(tracking.isSynced).toBe(true)
  })

  it('a trim goes to the disk alone and leaves its chunks to the copier', () => {
    start(filter, createRequest({ command: NBD_CMD_TRIM, offset: 0, length: 2 * CHUNK }))
    source.releaseAll()
    expect(targetDevice.held.length).toBe(0)
    expect(tracking.bitmap.dirtyCount).toBe(2)
  })

  it('a write that is not aligned for the target follows the background rule', () => {
    const large = new DelayedDevice(new MemoryDevice(SIZE, { blockSize: 4096 }))
    filter.forwardTo(new Target(large, tracking))
    start(filter, write(512, 512))
    expect(large.held.length).toBe(0)
    source.releaseAll()
    expect(tracking.bitmap.isDirty(0)).toBe(true)
  })

  it('a flush goes to both, and what settled before it is durable', () => {
    start(filter, write(0, CHUNK))
    source.releaseAll()
    targetDevice.releaseAll()
    expect(tracking.log.count).toBe(1)
    const watched = start(filter, createRequest({ command: NBD_CMD_FLUSH }))
    source.releaseAll()
    expect(watched.outcome).toBeUndefined()
    targetDevice.releaseAll()
    expect(watched.outcome).toBe(0)
    expect(tracking.log.count).toBe(0)
  })

  it('a flush that fails on the target makes dirty what it should have kept', () => {
    start(filter, write(0, CHUNK))
    source.releaseAll()
    targetDevice.releaseAll()
    const watched = start(filter, createRequest({ command: NBD_CMD_FLUSH }))
    source.releaseAll()
    targetDevice.fail(EIO)
    expect(watched.outcome).toBe(0)
    expect(tracking.bitmap.isDirty(0)).toBe(true)
  })
})

describe('when the target hangs', () => {
  beforeEach(() => {
    attachClean()
    filter.forwardTo(target)
  })

  it(
    'a write is answered at the deadline and its ' + 'memory stays lent until the target settles',
    () => {
      const request = write(0, CHUNK)
      const watched = start(filter, request)
      source.releaseAll()
      clock.advance(STALL_MS - 1)
      expect(watched.outcome).toBeUndefined()
      clock.advance(1)
      expect(watched.outcome).toBe(0)
      expect(stalls).toBe(1)
      expect(request.isLent).toBe(true)
      let isBack = false
      request.lender = {
        givenBack: () => {
          isBack = true
        },
      }
      targetDevice.releaseAll()
      expect(isBack).toBe(true)
      expect(request.isLent).toBe(false)
      expect(tracking.bitmap.isDirty(0)).toBe(true)
    },
  )

  it('the next writes do not wait for it', () => {
    start(filter, write(0, CHUNK))
    source.releaseAll()
    clock.advance(STALL_MS)
    const next = start(filter, write(0, CHUNK, 2))
    source.releaseAll()
    expect(next.outcome).toBe(0)
    expect(targetDevice.held.length).toBe(1)
  })

  it(
    'a write that meets a late range follows the background rule though ' + 'others are forwarded',
    () => {
      start(filter, write(0, CHUNK))
      source.releaseAll()
      clock.advance(STALL_MS)
      filter.forwardTo(target)
      const met = start(filter, write(512, 512))
      source.releaseAll()
      expect(met.outcome).toBe(0)
      start(filter, write(4 * CHUNK, 512))
      expect(targetDevice.held.length).toBe(2)
    },
  )

  it('a write that waits for its range goes on alone at its deadline', () => {
    start(filter, write(0, CHUNK))
    clock.advance(STALL_MS / 2)
    const waiting = start(filter, write(512, 512))
    source.releaseAll()
    clock.advance(STALL_MS)
    source.releaseAll()
    expect(waiting.outcome).toBe(0)
    expect(tracking.bitmap.isDirty(0)).toBe(true)
  })

  it('a flush is answered at the deadline too', () => {
    const watched = start(filter, createRequest({ command: NBD_CMD_FLUSH }))
    source.releaseAll()
    clock.advance(STALL_MS)
    expect(watched.outcome).toBe(0)
    expect(stalls).toBe(1)
    targetDevice.releaseAll()
  })

  it('a write whose own disk is slow gets its own answer, when that comes', () => {
    const watched = start(filter, write(0, CHUNK))
    clock.advance(STALL_MS)
    expect(watched.outcome).toBeUndefined()
    source.fail(EIO)
    expect(watched.outcome).toBe(EIO)
    targetDevice.releaseAll()
  })
})
