import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from 'nbd-client-ts'
import { expect, it } from 'vitest'
import { EINVAL, ENOSPC, ENOTSUP, EPERM } from '../../../src/block/errno.ts'
import { Extents } from '../../../src/block/extents.ts'
import { createRequest, heapMemory, perform } from '../../support/requests.ts'
import type { Subject } from '../conformance.ts'

export function testRefusals(subject: Subject): void {
  function submit(command: number, offset: number, length: number, flags = 0): Promise<number> {
    // No refused request reaches an engine, so memory without an address will do.
    const memory = heapMemory(65536)
    const extents = new Extents()
    const fields = { command, flags, offset, length, memory, extents }
    return perform(subject.device, createRequest(fields))
  }

  it('refuses a read past the end with EINVAL', async () => {
    const { size, blockSize } = subject.device.info
    expect(await submit(NBD_CMD_READ, size, blockSize)).toBe(EINVAL)
    expect(await submit(NBD_CMD_READ, size - blockSize, 2 * blockSize)).toBe(EINVAL)
  })

  it('refuses a write past the end with ENOSPC', async ({ skip }) => {
    const { size, blockSize, isReadOnly } = subject.device.info
    skip(isReadOnly, 'read-only')
    expect(await submit(NBD_CMD_WRITE, size, blockSize)).toBe(ENOSPC)
    expect(await submit(NBD_CMD_WRITE, size - blockSize, 2 * blockSize)).toBe(ENOSPC)
  })

  it('refuses to zero or trim past the end with ENOSPC', async ({ skip }) => {
    const { size, blockSize, canTrim, canWriteZeroes } = subject.device.info
    skip(!canTrim || !canWriteZeroes, 'no trim or no write zeroes')
    expect(await submit(NBD_CMD_TRIM, size, blockSize)).toBe(ENOSPC)
    expect(await submit(NBD_CMD_WRITE_ZEROES, size - blockSize, 2 * blockSize)).toBe(ENOSPC)
  })

  it('refuses a block status past the end with EINVAL', async ({ skip }) => {
    const { size, blockSize, canBlockStatus } = subject.device.info
    skip(!canBlockStatus, 'no block status')
    expect(await submit(NBD_CMD_BLOCK_STATUS, size, blockSize)).toBe(EINVAL)
  })

  it('refuses offsets that are far out or not numbers', async () => {
    const { blockSize } = subject.device.info
    for (const offset of [-1, -blockSize, Number.MAX_SAFE_INTEGER, 2 ** 63, 2 ** 64, Number.NaN]) {
      expect(await submit(NBD_CMD_READ, offset, blockSize)).toBe(EINVAL)
    }
  })

  it('refuses what is not aligned to its block size with EINVAL', async ({ skip }) => {
    const { blockSize } = subject.device.info
    skip(blockSize === 1, 'block size is 1')
    expect(await submit(NBD_CMD_READ, 1, blockSize)).toBe(EINVAL)
    expect(await submit(NBD_CMD_READ, 0, blockSize + 1)).toBe(EINVAL)
    expect(await submit(NBD_CMD_READ, blockSize / 2, blockSize / 2)).toBe(EINVAL)
  })

  it('refuses a request for nothing with EINVAL', async () => {
    expect(await submit(NBD_CMD_READ, 0, 0)).toBe(EINVAL)
  })

  it('refuses a flush with a range with EINVAL', async ({ skip }) => {
    const { blockSize, canFlush } = subject.device.info
    skip(!canFlush, 'cannot flush')
    expect(await submit(NBD_CMD_FLUSH, 0, blockSize)).toBe(EINVAL)
    expect(await submit(NBD_CMD_FLUSH, blockSize, 0)).toBe(EINVAL)
  })

  it('refuses commands that it does not know with EINVAL', async () => {
    const { blockSize } = subject.device.info
    for (const command of [NBD_CMD_DISC, 8, 99, 65535]) {
      expect(await submit(command, 0, blockSize)).toBe(EINVAL)
    }
  })

  it('refuses flags that it does not know, or not with this command, with EINVAL', async () => {
    const { blockSize } = subject.device.info
    for (const flags of [NBD_CMD_FLAG_NO_HOLE, NBD_CMD_FLAG_FAST_ZERO, NBD_CMD_FLAG_REQ_ONE, 64]) {
      expect(await submit(NBD_CMD_READ, 0, blockSize, flags)).toBe(EINVAL)
      expect(await submit(NBD_CMD_WRITE, 0, blockSize, flags)).toBe(EINVAL)
    }
  })

  it('refuses every change to a read-only device with EPERM', async ({ skip }) => {
    const { blockSize, isReadOnly } = subject.device.info
    skip(!isReadOnly, 'writable')
    for (const command of [NBD_CMD_WRITE, NBD_CMD_TRIM, NBD_CMD_WRITE_ZEROES]) {
      expect(await submit(command, 0, blockSize)).toBe(EPERM)
    }
  })

  it('refuses commands that it does not offer with ENOTSUP', async ({ skip }) => {
    const { info } = subject.device
    const missing = [
      ...(info.canFlush ? [] : [NBD_CMD_FLUSH]),
      ...(info.canTrim || info.isReadOnly ? [] : [NBD_CMD_TRIM]),
      ...(info.canWriteZeroes || info.isReadOnly ? [] : [NBD_CMD_WRITE_ZEROES]),
      ...(info.canBlockStatus ? [] : [NBD_CMD_BLOCK_STATUS]),
    ]
    skip(missing.length === 0, 'offers everything')
    for (const command of missing) expect(await submit(command, 0, 0)).toBe(ENOTSUP)
  })

  it('takes a cache request for a hint', async () => {
    const { size, blockSize } = subject.device.info
    expect(await submit(NBD_CMD_CACHE, 0, blockSize)).toBe(0)
    expect(await submit(NBD_CMD_CACHE, size, blockSize)).toBe(EINVAL)
  })

  it('ignores FUA on a read', async ({ skip }) => {
    const { blockSize, canFua } = subject.device.info
    skip(!canFua, 'no FUA')
    const memory = subject.source.acquire(blockSize)
    const fields = { command: NBD_CMD_READ, flags: NBD_CMD_FLAG_FUA, length: blockSize, memory }
    expect(await perform(subject.device, createRequest(fields))).toBe(0)
    subject.source.release(memory)
  })

  it('goes on working after refusals', async () => {
    const { size, blockSize } = subject.device.info
    expect(await submit(NBD_CMD_READ, size, blockSize)).toBe(EINVAL)
    expect(await subject.facade.read(0, blockSize)).toHaveLength(blockSize)
  })
}
