/**
 * What only files do: errors of the kernel, zeroes by every method, and thinness. The kernel's
 * refusals are played by an engine.
 */
import { stat, truncate, writeFile } from 'node:fs/promises'
import { NBD_STATE_HOLE, NBD_STATE_ZERO } from 'nbd-client-ts'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { Facade } from '../../src/block/facade.ts'
import { openFile } from '../../src/block/file.ts'
import type { OpenFileOptions } from '../../src/block/open-file.ts'
import type { Operation } from '../../src/io/engine.ts'
import { LibuvEngine } from '../../src/io/libuv.ts'
import type { Memory } from '../../src/io/memory.ts'
import { expectBytes, expectZeroes } from '../support/bytes.ts'
import { MAPPED_MEMORY } from '../support/mapped-memory.ts'
import { Random } from '../support/random.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024
const [EIO, ENOSPC, EBUSY, EOPNOTSUPP] = [5, 28, 16, 95]
const PUNCH = 3
const ZERO_RANGE = 17

/** The real engine, with a kernel that refuses what the test says. */
class RefusingEngine extends LibuvEngine {
  readonly calls: string[] = []
  /** Negative errno by fallocate mode. */
  readonly refused = new Map<number, number>()
  syncResult = 0
  /** Result of the next writes instead of the real one. */
  writeResult: number | undefined

  override fallocate(
    fd: number,
    mode: number,
    offset: number,
    length: number,
    operation: Operation,
  ) {
    this.calls.push(mode === PUNCH ? 'punch' : 'zero range')
    const result = this.refused.get(mode)
    if (result === undefined) super.fallocate(fd, mode, offset, length, operation)
    else setImmediate(() => operation.settle(result))
  }

  override write(
    fd: number,
    memory: Memory,
    at: number,
    length: number,
    offset: number,
    operation: Operation,
  ) {
    this.calls.push('write')
    const result = this.writeResult
    if (result === undefined) super.write(fd, memory, at, length, offset, operation)
    else setImmediate(() => operation.settle(result))
  }

  override sync(fd: number, operation: Operation) {
    this.calls.push('sync')
    if (this.syncResult === 0) super.sync(fd, operation)
    else setImmediate(() => operation.settle(this.syncResult))
  }
}

const random = new Random(7)
let folder: Temporary
let engine: RefusingEngine
let path: string

beforeEach(async () => {
  folder = await temporary('/var/tmp')
  engine = new RefusingEngine()
  path = folder.file('disk')
  await writeFile(path, '')
  await truncate(path, 4 * MIB)
})
afterEach(async () => {
  await engine.close()
  await folder[Symbol.asyncDispose]()
})

async function open(options: OpenFileOptions = {}): Promise<Facade> {
  const facade = new Facade(chain(checked, await openFile(path, engine, options)), MAPPED_MEMORY)
  await facade.write(0, random.bytes(4 * MIB))
  engine.calls.length = 0
  return facade
}

describe('write zeroes', () => {
  const REFUSALS = [
    ['punches', [], {}, ['punch']],
    ['zeroes the range for NO_HOLE', [], { noHole: true }, ['zero range']],
    ['zeroes the range where punching is refused', [PUNCH], {}, ['punch', 'zero range']],
    [
      'writes where both are refused',
      [PUNCH, ZERO_RANGE],
      {},
      ['punch', 'zero range', 'write', 'write', 'write'],
    ],
    [
      'writes for NO_HOLE where that is refused',
      [ZERO_RANGE],
      { noHole: true },
      ['zero range', 'write', 'write', 'write'],
    ],
    ['syncs with FUA', [PUNCH], { fua: true }, ['punch', 'zero range', 'sync']],
  ] as const

  it.each(REFUSALS)(
    '%s, and leaves nothing of the old contents',
    async (_name, refused, options, calls) => {
      for (const mode of refused) engine.refused.set(mode, -EOPNOTSUPP)
      await using disk = await open()
      const before = await disk.read(0, 4 * MIB)
      const [offset, length] = [512 * 3, 2 * MIB + 512 * 5]
      await disk.writeZeroes(offset, length, options)
      expect(engine.calls).toEqual(calls)
      before.fill(0, offset, offset + length)
      expectBytes(await disk.read(0, 4 * MIB), before)
    },
  )

  it('does not try again what was refused for good', async () => {
    engine.refused.set(PUNCH, -EOPNOTSUPP).set(ZERO_RANGE, -EOPNOTSUPP)
    await using disk = await open()
    await disk.writeZeroes(0, 4096)
    await disk.writeZeroes(0, 4096)
    expect(engine.calls).toEqual(['punch', 'zero range', 'write', 'write'])
  })

  it('writes where the range is busy, and tries to punch the next time', async () => {
    engine.refused.set(PUNCH, -EBUSY)
    await using disk = await open()
    await disk.writeZeroes(0, 4096)
    engine.refused.clear()
    await disk.writeZeroes(0, 4096)
    expect(engine.calls).toEqual(['punch', 'write', 'punch'])
    expectZeroes(await disk.read(0, 4096))
  })

  it('with FAST_ZERO says ENOTSUP instead of writing', async () => {
    engine.refused.set(PUNCH, -EOPNOTSUPP).set(ZERO_RANGE, -EOPNOTSUPP)
    await using disk = await open()
    const before = await disk.read(0, 4096)
    await expect(disk.writeZeroes(0, 4096, { fastZero: true })).rejects.toMatchObject({ errno: 95 })
    expectBytes(await disk.read(0, 4096), before)
    expect(engine.calls).not.toContain('write')
  })

  it.each([EIO, ENOSPC])('passes on errno %d instead of trying another method', async errno => {
    engine.refused.set(PUNCH, -errno)
    await using disk = await open()
    await expect(disk.writeZeroes(0, 4096)).rejects.toMatchObject({ errno })
    expect(engine.calls).toEqual(['punch'])
  })
})

describe('trim', () => {
  it('gives the space back', async () => {
    await using disk = await open()
    await disk.flush()
    const before = await stat(path)
    await disk.trim(MIB, 2 * MIB)
    await disk.flush()
    expect((await stat(path)).blocks).toBeLessThanOrEqual(before.blocks - (2 * MIB) / 512)
    expect((await stat(path)).size).toBe(4 * MIB)
  })

  it('is ENOTSUP where the kernel refuses it, never EIO', async () => {
    engine.refused.set(PUNCH, -EOPNOTSUPP)
    await using disk = await open()
    for (let i = 0; i < 2; i++) {
      await expect(disk.trim(0, 4096)).rejects.toMatchObject({ errno: 95 })
    }
    expect(engine.calls).toEqual(['punch'])
  })
})

describe('the kernel', () => {
  it('has no room: a short write is ENOSPC', async () => {
    await using disk = await open()
    engine.writeResult = 512
    await expect(disk.write(0, random.bytes(4096))).rejects.toMatchObject({ errno: ENOSPC })
  })

  it.each([
    [-5, 5],
    [-28, 28],
    [-122, 28],
    [-30, 1],
    [-125, 108],
    [-6, 5],
  ])('says %d to a write: errno %d', async (result, errno) => {
    await using disk = await open()
    engine.writeResult = result
    await expect(disk.write(0, random.bytes(4096))).rejects.toMatchObject({ errno })
  })

  it('finds the file shorter than it was: EIO, not zeroes', async () => {
    await using disk = await open()
    await truncate(path, MIB)
    await expect(disk.read(2 * MIB, 4096)).rejects.toMatchObject({ errno: EIO })
  })

  it('syncs a FUA write after it and not without FUA', async () => {
    await using disk = await open()
    await disk.write(0, random.bytes(4096), { fua: true })
    await disk.write(0, random.bytes(4096))
    expect(engine.calls).toEqual(['write', 'sync', 'write'])
  })

  it('fails a sync: no flush of a buffered file succeeds after that, and no FUA', async () => {
    await using disk = await open({ direct: 'off' })
    engine.syncResult = -EIO
    await expect(disk.flush()).rejects.toMatchObject({ errno: EIO })
    engine.syncResult = 0
    await expect(disk.flush()).rejects.toMatchObject({ errno: EIO })
    await expect(disk.write(0, random.bytes(512), { fua: true })).rejects.toMatchObject({
      errno: EIO,
    })
    await disk.write(0, random.bytes(512))
  })

  it('fails a sync of a direct file: its writes were honest, so the next may succeed', async () => {
    await using disk = await open({ direct: 'on' })
    engine.syncResult = -EIO
    await expect(disk.flush()).rejects.toMatchObject({ errno: EIO })
    engine.syncResult = 0
    await disk.flush()
  })
})

describe('a file in memory', () => {
  beforeEach(async () => {
    await folder[Symbol.asyncDispose]()
    folder = await temporary('/dev/shm')
    path = folder.file('disk')
    await writeFile(path, '')
    await truncate(path, 4 * MIB)
  })

  it('is read, written and flushed without the engine, but for long transfers', async () => {
    await using disk = await open()
    const bytes = random.bytes(MIB / 8)
    await disk.write(MIB, bytes, { fua: true })
    expectBytes(await disk.read(MIB, bytes.length), bytes)
    await disk.flush()
    expect(engine.calls).toEqual([])
    await disk.write(0, random.bytes(MIB))
    expect(engine.calls).toEqual(['write'])
  })

  it('was cut off: EIO, not zeroes', async () => {
    await using disk = await open()
    await truncate(path, MIB)
    await expect(disk.read(MIB - 4096, 8192)).rejects.toMatchObject({ errno: EIO })
  })
})

describe('block status', () => {
  const HOLE = NBD_STATE_HOLE | NBD_STATE_ZERO

  it('tells holes from data', async () => {
    await using disk = await open()
    await disk.trim(MIB, MIB)
    await disk.writeZeroes(3 * MIB, MIB)
    await disk.flush()
    expect(await disk.blockStatus(0, 4 * MIB)).toEqual([
      { length: MIB, flags: 0 },
      { length: MIB, flags: HOLE },
      { length: MIB, flags: 0 },
      { length: MIB, flags: HOLE },
    ])
    expect(await disk.blockStatus(MIB + 4096, 8192)).toEqual([{ length: 8192, flags: HOLE }])
    expect(await disk.blockStatus(0, 4 * MIB, { one: true })).toEqual([{ length: MIB, flags: 0 }])
    expect(await disk.blockStatus(MIB, 3 * MIB, { one: true })).toEqual([
      { length: MIB, flags: HOLE },
    ])
  })

  it('answers for a fragmented file in several bounded parts', async () => {
    await using disk = await open()
    for (let offset = 0; offset < 4 * MIB; offset += 16384) await disk.trim(offset, 8192)
    await disk.flush()
    const first = await disk.blockStatus(0, 4 * MIB)
    expect(first.length).toBeGreaterThan(8)
    expect(first.length).toBeLessThanOrEqual(128)
    for (const [index, extent] of first.entries()) {
      expect(extent).toEqual({ length: 8192, flags: index % 2 === 0 ? HOLE : 0 })
    }
  })
})
