import { NBD_CMD_READ, NBD_CMD_WRITE } from 'nbd-client-ts'
import { expect, it } from 'vitest'
import { expectBytes } from '../../support/bytes.ts'
import { Random } from '../../support/random.ts'
import { createRequest, perform } from '../../support/requests.ts'
import { SIZE_MIN, type Subject } from '../conformance.ts'

export function testReadingAndWriting(subject: Subject): void {
  const random = new Random(1)

  it('has a size and a block size that fit each other', () => {
    const { size, blockSize } = subject.device.info
    expect(size).toBeGreaterThanOrEqual(SIZE_MIN)
    expect(Math.log2(blockSize)).toBe(Math.floor(Math.log2(blockSize)))
    expect(size % blockSize).toBe(0)
  })

  it('reads the first and the last block', async () => {
    const { size, blockSize } = subject.device.info
    expect(await subject.facade.read(0, blockSize)).toHaveLength(blockSize)
    expect(await subject.facade.read(size - blockSize, blockSize)).toHaveLength(blockSize)
  })

  it('puts a read where the request says and nowhere else', async () => {
    const { blockSize } = subject.device.info
    const length = Math.max(512, blockSize)
    const memory = subject.source.acquire(3 * length)
    const expected = await subject.facade.read(4096, length)
    memory.bytes.fill(0x5a)
    const fields = { command: NBD_CMD_READ, offset: 4096, length, memory, memoryOffset: length }
    expect(await perform(subject.device, createRequest(fields))).toBe(0)
    expectBytes(memory.bytes.subarray(length, 2 * length), expected)
    const untouched = new Uint8Array(length).fill(0x5a)
    expectBytes(memory.bytes.subarray(0, length), untouched)
    expectBytes(memory.bytes.subarray(2 * length, 3 * length), untouched)
    subject.source.release(memory)
  })

  it('reads back what was written', async ({ skip }) => {
    skip(subject.device.info.isReadOnly, 'read-only')
    const bytes = random.bytes(65536)
    await subject.facade.write(65536, bytes)
    expectBytes(await subject.facade.read(65536, bytes.length), bytes)
  })

  it('writes one block and leaves its neighbours alone', async ({ skip }) => {
    const { isReadOnly, blockSize } = subject.device.info
    skip(isReadOnly, 'read-only')
    const before = random.bytes(3 * blockSize)
    const block = random.bytes(blockSize)
    await subject.facade.write(8192, before)
    await subject.facade.write(8192 + blockSize, block)
    before.set(block, blockSize)
    expectBytes(await subject.facade.read(8192, before.length), before)
  })

  it('writes the last block', async ({ skip }) => {
    const { isReadOnly, blockSize, size } = subject.device.info
    skip(isReadOnly, 'read-only')
    const block = random.bytes(blockSize)
    await subject.facade.write(size - blockSize, block)
    expectBytes(await subject.facade.read(size - blockSize, blockSize), block)
  })

  it('writes and reads a mebibyte at once', async ({ skip }) => {
    skip(subject.device.info.isReadOnly, 'read-only')
    const bytes = random.bytes(SIZE_MIN)
    await subject.facade.write(0, bytes)
    expectBytes(await subject.facade.read(0, SIZE_MIN), bytes)
  })

  it('writes from where the request says, and does not change the memory', async ({ skip }) => {
    const { isReadOnly, blockSize } = subject.device.info
    skip(isReadOnly, 'read-only')
    const length = Math.max(512, blockSize)
    const memory = subject.source.acquire(3 * length)
    const contents = random.bytes(3 * length)
    memory.bytes.set(contents)
    const fields = { command: NBD_CMD_WRITE, offset: 16384, length, memory, memoryOffset: length }
    expect(await perform(subject.device, createRequest(fields))).toBe(0)
    expectBytes(memory.bytes.subarray(0, 3 * length), contents)
    const written = contents.subarray(length, 2 * length)
    expectBytes(await subject.facade.read(16384, length), written)
    subject.source.release(memory)
  })

  it('lets the later of two writes win when it starts after the first', async ({ skip }) => {
    skip(subject.device.info.isReadOnly, 'read-only')
    const later = random.bytes(4096)
    await subject.facade.write(0, random.bytes(8192))
    await subject.facade.write(4096, later)
    expectBytes(await subject.facade.read(4096, 4096), later)
  })

  it('keeps 64 writes at the same time apart', async ({ skip }) => {
    skip(subject.device.info.isReadOnly, 'read-only')
    const pieces = Array.from({ length: 64 }, () => random.bytes(4096))
    await Promise.all(pieces.map((piece, index) => subject.facade.write(index * 4096, piece)))
    const whole = await subject.facade.read(0, 64 * 4096)
    expectBytes(whole, Buffer.concat(pieces))
  })

  it('keeps 64 reads at the same time apart', async () => {
    const whole = await subject.facade.read(0, 64 * 4096)
    const indexes = Array.from({ length: 64 }, (_, index) => index)
    const pieces = await Promise.all(indexes.map(index => subject.facade.read(index * 4096, 4096)))
    expectBytes(Buffer.concat(pieces), whole)
  })

  it('takes the same request again as soon as it is complete', async () => {
    const memory = subject.source.acquire(4096)
    const request = createRequest({ command: NBD_CMD_READ, length: 4096, memory })
    for (let i = 0; i < 8; i++) {
      expect(await perform(subject.device, request)).toBe(0)
      expect(request.isUnderWay).toBe(false)
    }
    subject.source.release(memory)
  })

  it('agrees with a model over 200 random operations', async ({ skip }) => {
    skip(subject.device.info.isReadOnly, 'read-only')
    await runRandomOperations(subject, 200, new Random(2))
  })
}

/**
 * One operation at a time, on the first mebibyte, each followed in a model; the whole is compared
 * at the end.
 */
async function runRandomOperations(subject: Subject, count: number, random: Random): Promise<void> {
  const { blockSize, canWriteZeroes, canTrim } = subject.device.info
  const { facade } = subject
  const model = random.bytes(SIZE_MIN)
  await facade.write(0, model)
  const blocks = SIZE_MIN / blockSize
  for (let i = 0; i < count; i++) {
    const first = random.below(blocks)
    const length = (1 + random.below(Math.min(blocks - first, 65536 / blockSize))) * blockSize
    const offset = first * blockSize
    const kind = random.below(4)
    if (kind === 0 && canWriteZeroes) {
      await facade.writeZeroes(offset, length, { noHole: random.chance(0.5) })
      model.fill(0, offset, offset + length)
    } else if (kind === 1 && canTrim) {
      await facade.trim(offset, length)
      // What a trimmed range reads as is not promised, only that it is stable once written.
      const bytes = random.bytes(length)
      await facade.write(offset, bytes)
      model.set(bytes, offset)
    } else if (kind === 2) {
      const bytes = await facade.read(offset, length)
      expectBytes(bytes, model.subarray(offset, offset + length))
    } else {
      const bytes = random.bytes(length)
      await facade.write(offset, bytes)
      model.set(bytes, offset)
    }
  }
  expectBytes(await facade.read(0, SIZE_MIN), model)
}
