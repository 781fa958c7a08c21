import { describe, expect, it } from 'vitest'
import { AGAIN, readOutcome, recvOutcome, writeOutcome } from '../../src/io/transfer.ts'

const [EIO, EINVAL, ENOSPC] = [5, 22, 28]

describe('outcome of a partial transfer', () => {
  it.each([
    // result, done, length, read, write
    [100, 0, 100, 100, 100],
    [40, 0, 100, AGAIN, AGAIN],
    [60, 40, 100, 100, 100],
    [0, 0, 100, 0, 0],
    [0, 40, 100, 40, 40],
    [0, 0, 0, 0, 0],
    [-EIO, 0, 100, -EIO, -EIO],
    [-EIO, 40, 100, -EIO, -EIO],
    [-EINVAL, 0, 100, -EINVAL, -EINVAL],
    [-EINVAL, 40, 100, 40, -EINVAL],
    [-ENOSPC, 0, 100, -ENOSPC, -ENOSPC],
    [-ENOSPC, 40, 100, -ENOSPC, 40],
  ])('result %d after %d of %d bytes', (result, done, length, read, write) => {
    expect(readOutcome(result, done, length)).toBe(read)
    expect(writeOutcome(result, done, length)).toBe(write)
  })

  it.each([
    // result, done, all, outcome
    [40, 0, false, 40],
    [40, 0, true, AGAIN],
    [60, 40, true, 100],
    [0, 40, true, 40],
    [0, 0, false, 0],
    [-EIO, 40, true, -EIO],
  ])('receive of %d after %d of 100 bytes, all: %s', (result, done, all, outcome) => {
    expect(recvOutcome(result, done, 100, all)).toBe(outcome)
  })
})
