/**
 * Block status of a file: the file system tells data from holes by lseek(2). Seeks are answered
 * from metadata and do not move data, but they block, so one request makes a bounded number of them
 * and the answer is cut short there.
 */

import { seekSync } from 'fs-ext'
import { NBD_CMD_FLAG_REQ_ONE, NBD_STATE_HOLE, NBD_STATE_ZERO } from 'nbd-client-ts'
import { EIO } from './errno.ts'
import { SEEK_DATA } from './open-file.ts'
import type { Request } from './request.ts'

const SEEK_HOLE = 4
/** Most seeks for one block status. */
const SEEKS_MAX = 128
const HOLE = NBD_STATE_HOLE | NBD_STATE_ZERO

/** Fills in the request's extents; returns 0 or an errno. */
export function reportFileExtents(request: Request, fd: number, blockSize: number): number {
  const { offset, length, flags } = request
  const extents = request.extents!
  const isOne = (flags & NBD_CMD_FLAG_REQ_ONE) !== 0
  const end = offset + length
  extents.clear()
  try {
    let at = offset
    for (let seeks = 0; at < end && seeks < SEEKS_MAX; seeks += 2) {
      // Whole blocks count as data if a byte of them is.
      const dataAt = seekData(fd, at, end)
      const dataStart = dataAt - (dataAt % blockSize)
      if (dataStart > at && !extents.add(dataStart - at, HOLE)) return 0
      if (dataStart === end || (isOne && extents.count > 0)) return 0
      const holeAt = seekSync(fd, dataAt, SEEK_HOLE)
      const dataEnd = Math.min(end, Math.ceil(holeAt / blockSize) * blockSize)
      if (!extents.add(dataEnd - dataStart, 0) || isOne) return 0
      at = dataEnd
    }
    return 0
  } catch {
    // Neither seek fails on an open file that could do them before, unless the file was cut off.
    return EIO
  }
}

/** Where data begins at or after `at`, or `end` if that comes first. */
function seekData(fd: number, at: number, end: number): number {
  try {
    return Math.min(end, seekSync(fd, at, SEEK_DATA))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENXIO') return end
    throw error
  }
}
