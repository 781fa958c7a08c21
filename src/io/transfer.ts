/**
 * What a partial result of a read or write means; the same for both engines. Pure: no state, no
 * I/O.
 */
import { constants } from 'node:os'

const { EINVAL, ENOSPC } = constants.errno

/** "Not finished: ask again for the rest". No errno is as large. */
export const AGAIN = -(2 ** 31)

/** Most bytes of one operation: what the kernel moves at a time, less a bit (bytes). */
export const LENGTH_MAX = 2 ** 30

/**
 * After the kernel answered `result` to a read of the last `length - done` of `length` bytes:
 * AGAIN, or what to settle with. The end of a file need not be aligned: a direct read that
 * continues there is refused with EINVAL and means the end too.
 */
export function readOutcome(result: number, done: number, length: number): number {
  if (result < 0) return result === -EINVAL && done > 0 ? done : result
  return result > 0 && done + result < length ? AGAIN : done + result
}

/** The same for a write. Short means that the device is full at that place. */
export function writeOutcome(result: number, done: number, length: number): number {
  if (result < 0) return result === -ENOSPC && done > 0 ? done : result
  return result > 0 && done + result < length ? AGAIN : done + result
}

/** The same for a receive; without `all` the first bytes are enough. */
export function recvOutcome(result: number, done: number, length: number, all: boolean): number {
  if (result < 0) return result
  return all && result > 0 && done + result < length ? AGAIN : done + result
}
