import { expect, it } from 'vitest'
import type { BlockError } from '../../../src/block/block-error.ts'
import { expectBytes, expectZeroes } from '../../support/bytes.ts'
import { Random } from '../../support/random.ts'
import { SIZE_MIN, type Subject } from '../conformance.ts'

export function testZeroing(subject: Subject): void {
  const random = new Random(4)
  const canWriteZeroes = (): boolean => subject.device.info.canWriteZeroes
  const canTrim = (): boolean => subject.device.info.canTrim

  /** Fills a stretch with noise, changes its inside, and expects the edges to be as before. */
  async function expectEdgesKept(
    offset: number,
    edge: number,
    length: number,
    change: () => Promise<void>,
  ): Promise<Uint8Array> {
    const before = random.bytes(edge + length + edge)
    await subject.facade.write(offset, before)
    await change()
    const after = await subject.facade.read(offset, before.length)
    expectBytes(after.subarray(0, edge), before.subarray(0, edge))
    expectBytes(after.subarray(edge + length), before.subarray(edge + length))
    return after.subarray(edge, edge + length)
  }

  it('writes zeroes, and only where it was asked to', async ({ skip }) => {
    skip(!canWriteZeroes(), 'no write zeroes')
    const zeroed = await expectEdgesKept(0, 4096, 131072, () =>
      subject.facade.writeZeroes(4096, 131072),
    )
    expectZeroes(zeroed)
  })

  it('writes zeroes without a hole', async ({ skip }) => {
    skip(!canWriteZeroes(), 'no write zeroes')
    const zeroed = await expectEdgesKept(0, 4096, 131072, () =>
      subject.facade.writeZeroes(4096, 131072, { noHole: true }),
    )
    expectZeroes(zeroed)
  })

  it('zeroes a single block that is not aligned to anything larger', async ({ skip }) => {
    skip(!canWriteZeroes(), 'no write zeroes')
    const { blockSize } = subject.device.info
    for (const noHole of [false, true]) {
      const zeroed = await expectEdgesKept(8192, blockSize, blockSize, () =>
        subject.facade.writeZeroes(8192 + blockSize, blockSize, { noHole }),
      )
      expectZeroes(zeroed)
    }
  })

  it('zeroes a range with ragged edges', async ({ skip }) => {
    skip(!canWriteZeroes(), 'no write zeroes')
    const { blockSize } = subject.device.info
    const edge = 3 * blockSize
    const length = 5 * 4096 + blockSize
    for (const noHole of [false, true]) {
      const zeroed = await expectEdgesKept(4096, edge, length, () =>
        subject.facade.writeZeroes(4096 + edge, length, { noHole }),
      )
      expectZeroes(zeroed)
    }
  })

  it('zeroes what is zero already', async ({ skip }) => {
    skip(!canWriteZeroes(), 'no write zeroes')
    await subject.facade.writeZeroes(0, 65536)
    await subject.facade.writeZeroes(0, 65536)
    expectZeroes(await subject.facade.read(0, 65536))
  })

  it('zeroes up to the end of the device', async ({ skip }) => {
    skip(!canWriteZeroes(), 'no write zeroes')
    const { size, blockSize } = subject.device.info
    const length = 9 * blockSize
    await subject.facade.write(size - length, random.bytes(length))
    await subject.facade.writeZeroes(size - length, length)
    expectZeroes(await subject.facade.read(size - length, length))
    expect(subject.device.info.size).toBe(size)
  })

  it('zeroes fast or says ENOTSUP and changes nothing', async ({ skip }) => {
    skip(!canWriteZeroes() || !subject.device.info.canFastZero, 'no fast zero')
    const before = random.bytes(65536)
    await subject.facade.write(65536, before)
    const error = await subject.facade
      .writeZeroes(65536, 65536, { fastZero: true })
      .catch((reason: BlockError) => reason)
    if (error !== undefined) expect(error.code).toMatch(/^(ENOTSUP|EOPNOTSUPP)$/)
    const expected = error === undefined ? new Uint8Array(65536) : before
    expectBytes(await subject.facade.read(65536, 65536), expected)
  })

  it('zeroes a mebibyte in one request', async ({ skip }) => {
    skip(!canWriteZeroes(), 'no write zeroes')
    await subject.facade.write(0, random.bytes(SIZE_MIN))
    await subject.facade.writeZeroes(0, SIZE_MIN)
    expectZeroes(await subject.facade.read(0, SIZE_MIN))
  })

  it('keeps writes and zeroes of different ranges at the same time apart', async ({ skip }) => {
    skip(!canWriteZeroes(), 'no write zeroes')
    const piece = random.bytes(4096)
    await subject.facade.write(0, random.bytes(32 * 4096))
    await Promise.all(
      Array.from({ length: 32 }, (_, index) =>
        index % 2 === 0
          ? subject.facade.write(index * 4096, piece)
          : subject.facade.writeZeroes(index * 4096, 4096),
      ),
    )
    for (let index = 0; index < 32; index++) {
      const expected = index % 2 === 0 ? piece : new Uint8Array(4096)
      expectBytes(await subject.facade.read(index * 4096, 4096), expected)
    }
  })

  it('trims, and only where it was asked to', async ({ skip }) => {
    skip(!canTrim(), 'no trim')
    await expectEdgesKept(0, 4096, 65536, () => subject.facade.trim(4096, 65536))
  })

  it('trims a range with ragged edges without touching what is beside it', async ({ skip }) => {
    skip(!canTrim(), 'no trim')
    const { blockSize } = subject.device.info
    const edge = 3 * blockSize
    const length = 5 * 4096 + blockSize
    await expectEdgesKept(4096, edge, length, () => subject.facade.trim(4096 + edge, length))
  })

  it('writes again where it trimmed', async ({ skip }) => {
    skip(!canTrim(), 'no trim')
    const bytes = random.bytes(65536)
    await subject.facade.trim(0, 131072)
    await subject.facade.write(32768, bytes)
    expectBytes(await subject.facade.read(32768, 65536), bytes)
  })
}
