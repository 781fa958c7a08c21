import { NBD_STATE_HOLE, NBD_STATE_ZERO } from 'nbd-client-ts'
import { expect, it } from 'vitest'
import type { Extent } from '../../../src/block/facade.ts'
import { expectZeroes } from '../../support/bytes.ts'
import { Random } from '../../support/random.ts'
import { SIZE_MIN, type Subject } from '../conformance.ts'

export function testBlockStatus(subject: Subject): void {
  const random = new Random(5)
  const cannot = (): boolean => !subject.device.info.canBlockStatus

  /** All extents of a range, by as many requests as that takes. */
  async function walk(offset: number, length: number): Promise<Extent[]> {
    const all: Extent[] = []
    for (let at = offset; at < offset + length; ) {
      const extents = await subject.facade.blockStatus(at, offset + length - at)
      expect(extents.length).toBeGreaterThan(0)
      for (const extent of extents) {
        expect(extent.length).toBeGreaterThan(0)
        at += extent.length
      }
      all.push(...extents)
      expect(at).toBeLessThanOrEqual(offset + length)
    }
    return all
  }

  it('accounts for every byte of the device', async ({ skip }) => {
    skip(cannot(), 'no block status')
    const { size, blockSize } = subject.device.info
    const extents = await walk(0, size)
    expect(extents.reduce((sum, extent) => sum + extent.length, 0)).toBe(size)
    for (const { length, flags } of extents) {
      expect(length % blockSize).toBe(0)
      expect(flags & ~(NBD_STATE_HOLE | NBD_STATE_ZERO)).toBe(0)
    }
  })

  it('never calls data zero', async ({ skip }) => {
    const { isReadOnly } = subject.device.info
    skip(cannot() || isReadOnly, 'no block status or read-only')
    await subject.facade.write(65536, random.bytes(65536))
    for (const { flags } of await walk(65536, 65536)) expect(flags & NBD_STATE_ZERO).toBe(0)
  })

  it('calls zero only what reads as zeroes', async ({ skip }) => {
    const { canWriteZeroes } = subject.device.info
    skip(cannot() || !canWriteZeroes, 'no block status or no write zeroes')
    await subject.facade.write(0, random.bytes(SIZE_MIN))
    await subject.facade.writeZeroes(65536, 262144)
    await subject.facade.writeZeroes(524288, 65536, { noHole: true })
    let at = 0
    for (const { length, flags } of await walk(0, SIZE_MIN)) {
      if ((flags & NBD_STATE_ZERO) !== 0) {
        const bytes = await subject.facade.read(at, length)
        expectZeroes(bytes)
      }
      at += length
    }
  })

  it('starts in the middle of an extent', async ({ skip }) => {
    skip(cannot(), 'no block status')
    const { blockSize } = subject.device.info
    const extents = await walk(blockSize, 65536)
    expect(extents.reduce((sum, extent) => sum + extent.length, 0)).toBe(65536)
  })

  it('gives one extent when asked for one', async ({ skip }) => {
    const { canWriteZeroes } = subject.device.info
    skip(cannot() || !canWriteZeroes, 'no block status or no write zeroes')
    await subject.facade.write(0, random.bytes(131072))
    await subject.facade.writeZeroes(65536, 65536)
    const extents = await subject.facade.blockStatus(0, 131072, { one: true })
    expect(extents).toHaveLength(1)
    expect(extents[0]!.length).toBeLessThanOrEqual(131072)
  })

  it('merges neighbours that are alike', async ({ skip }) => {
    skip(cannot(), 'no block status')
    const extents = await subject.facade.blockStatus(0, SIZE_MIN)
    for (let i = 1; i < extents.length; i++) {
      expect(extents[i]!.flags).not.toBe(extents[i - 1]!.flags)
    }
  })
}
