/**
 * Block status of a file: the file system tells data from holes by lseek(2). Seeks move no data,
 * but they block, on some file systems for as long as it takes to look at every page up to the next
 * hole. A run of data is taken to be as long as the one before: the end of a long one is looked for
 * by the thread pool, that of a short one on the spot, which is ten times as fast. One request
 * makes a bounded number of seeks; its answer is cut short there.
 */
import { constants } from 'node:os'
import { NBD_CMD_FLAG_REQ_ONE, NBD_STATE_HOLE, NBD_STATE_ZERO } from 'nbd-client-ts'
import { lseek, lseekAsync } from '../io/libc.ts'
import { EIO } from './errno.ts'
import { SEEK_DATA } from './open-file.ts'
import type { Request } from './request.ts'

const SEEK_HOLE = 4
/** Most seeks for one block status. */
const SEEKS_MAX = 128
/** A long run of data (bytes): tmpfs takes 0.2 ms to look at it. */
const LONG_RUN = 16 * 1024 * 1024
const HOLE = NBD_STATE_HOLE | NBD_STATE_ZERO
const { ENXIO } = constants.errno

/**
 * Fills in the request's extents; resolves with 0 or an errno. The fd must stay open until then.
 */
export async function reportFileExtents(
  request: Request,
  fd: number,
  blockSize: number,
): Promise<number> {
  const { offset, length, flags } = request
  const extents = request.extents!
  const isOne = (flags & NBD_CMD_FLAG_REQ_ONE) !== 0
  const end = offset + length
  extents.clear()
  let at = offset
  let run = Number.POSITIVE_INFINITY
  for (let seeks = 0; at < end && seeks < SEEKS_MAX; seeks += 2) {
    const found = lseek(fd, at, SEEK_DATA)
    // No data at or after it.
    const dataAt = found === -ENXIO ? end : Math.min(end, found)
    if (dataAt < 0) return EIO
    // Whole blocks count as data if a byte of them is.
    const dataStart = dataAt - (dataAt % blockSize)
    if (dataStart > at && !extents.add(dataStart - at, HOLE)) return 0
    if (dataStart === end || (isOne && extents.count > 0)) return 0
    const seeking = seekHole(fd, dataAt, run >= LONG_RUN)
    const holeAt = typeof seeking === 'number' ? seeking : await seeking
    // It does not fail on an open file that could do it before, unless the file was cut off.
    if (holeAt < 0) return EIO
    run = holeAt - dataAt
    const dataEnd = Math.min(end, Math.ceil(holeAt / blockSize) * blockSize)
    if (!extents.add(dataEnd - dataStart, 0) || isOne) return 0
    at = dataEnd
  }
  return 0
}

/** The position, or a negative errno; at once or later. */
function seekHole(fd: number, at: number, isLong: boolean): number | Promise<number> {
  if (!isLong) return lseek(fd, at, SEEK_HOLE)
  return new Promise(resolve => lseekAsync(fd, at, SEEK_HOLE, resolve))
}
