/**
 * A failed request, for callers that await one (the promise facade). Inside the data path an errno
 * travels in `Request.error`.
 */
import { constants } from 'node:os'

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno).map(([name, value]) => [value, name]),
)

/** The name of a positive errno, as in `EIO`. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`
}

export class BlockError extends Error {
  override readonly name = 'BlockError'
  /** Positive errno. */
  readonly errno: number
  /** Its name, as in `ENOSPC`. */
  readonly code: string
  readonly operation: string
  readonly offset: number
  readonly length: number

  constructor(errno: number, operation: string, offset: number, length: number, cause?: unknown) {
    super(`${operation} offset=${offset} length=${length}: ${errnoName(errno)}`, { cause })
    this.errno = errno
    this.code = errnoName(errno)
    this.operation = operation
    this.offset = offset
    this.length = length
  }
}
