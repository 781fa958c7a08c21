// What a client must not send: ranges that the size, the block size or the read-only flag forbid.
// A violation gets the error that a server would answer, and is not sent.

import { commandName } from './channel.ts'
import type { ClientHandshakeResult } from './client-options.ts'
import {
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_ENOSPC,
  NBD_EPERM,
  NBD_FLAG_READ_ONLY,
} from './constants.ts'
import { NbdError } from './errors.ts'

/** Throws NbdError if `command` may not be sent for this range of the export. */
export function checkRange(
  { size, flags, blockSize }: ClientHandshakeResult,
  command: number,
  offset: number,
  length: number,
): void {
  const what = `${commandName(command)} offset=${offset} length=${length}`
  const isWrite = command === NBD_CMD_WRITE || command === NBD_CMD_WRITE_ZEROES
  if ((isWrite || command === NBD_CMD_TRIM) && (flags & NBD_FLAG_READ_ONLY) !== 0) {
    throw new NbdError(`${what}: the export is read-only`, NBD_EPERM)
  }
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw new NbdError(`${what}: not a range`, NBD_EINVAL)
  }
  if (offset + length > size) {
    throw new NbdError(`${what}: the size is ${size}`, isWrite ? NBD_ENOSPC : NBD_EINVAL)
  }
  if (offset % blockSize.minimum !== 0 || length % blockSize.minimum !== 0) {
    throw new NbdError(`${what}: the block size is ${blockSize.minimum}`, NBD_EINVAL)
  }
}
