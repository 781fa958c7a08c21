// The transmission phase on the wire: fixed-size headers written to and read from a caller's
// DataView. Nothing is allocated and nothing is kept, so the functions suit a hot path over
// long-lived memory. Cookies are two u32 that mean nothing to us. All offsets are in bytes.

import {
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_REQUEST_MAGIC,
  NBD_SIMPLE_REPLY_MAGIC,
  NBD_STRUCTURED_REPLY_MAGIC,
} from './constants.ts'
import { ProtocolError } from './errors.ts'
import { EXTENT_LENGTH_MAX } from './limits.ts'

const U32 = 2 ** 32
/** High halves from this one on make a u64 that a number cannot hold exactly. */
const UNSAFE_HIGH = 2 ** 21

/** Request header: size, and where its fields are. */
export const REQUEST_SIZE = 28
export const REQUEST_FLAGS_AT = 4
export const REQUEST_COMMAND_AT = 6
export const REQUEST_COOKIE_HIGH_AT = 8
export const REQUEST_COOKIE_LOW_AT = 12
export const REQUEST_OFFSET_AT = 16
export const REQUEST_LENGTH_AT = 24

/** Simple reply header: size, and where its fields are. */
export const SIMPLE_REPLY_SIZE = 16
export const SIMPLE_REPLY_ERROR_AT = 4
export const SIMPLE_REPLY_COOKIE_HIGH_AT = 8
export const SIMPLE_REPLY_COOKIE_LOW_AT = 12

/** Structured reply chunk header: size, and where its fields are. */
export const STRUCTURED_REPLY_SIZE = 20
export const STRUCTURED_REPLY_FLAGS_AT = 4
export const STRUCTURED_REPLY_TYPE_AT = 6
export const STRUCTURED_REPLY_COOKIE_HIGH_AT = 8
export const STRUCTURED_REPLY_COOKIE_LOW_AT = 12
export const STRUCTURED_REPLY_LENGTH_AT = 16

/** Fixed parts of chunk payloads. */
export const OFFSET_DATA_PREFIX_SIZE = 8
export const OFFSET_HOLE_SIZE = 12
export const ERROR_CHUNK_PREFIX_SIZE = 6
export const ERROR_OFFSET_SUFFIX_SIZE = 8
export const BLOCK_STATUS_PREFIX_SIZE = 4
export const EXTENT_SIZE = 8

/** Writes a u64. `value` must be a non-negative safe integer, which is the caller's duty. */
export function putU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, Math.floor(value / U32))
  view.setUint32(at + 4, value >>> 0)
}

/** Reads a u64. Throws ProtocolError if a number cannot hold it exactly (2^53 and more). */
export function getU64(view: DataView, at: number): number {
  const value = getU64OrMinusOne(view, at)
  if (value < 0) {
    const received = `0x${view.getBigUint64(at).toString(16)}`
    throw new ProtocolError('unsigned 64 bit value', 'less than 2^53', received)
  }
  return value
}

/** Reads a u64, or -1 if a number cannot hold it exactly: such an offset is answered EINVAL. */
export function getU64OrMinusOne(view: DataView, at: number): number {
  const high = view.getUint32(at)
  return high >= UNSAFE_HIGH ? -1 : high * U32 + view.getUint32(at + 4)
}

/** Writes a request header. A write's data follows it directly. */
export function putRequest(
  view: DataView,
  at: number,
  flags: number,
  command: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  length: number,
): void {
  view.setUint32(at, NBD_REQUEST_MAGIC)
  view.setUint16(at + REQUEST_FLAGS_AT, flags)
  view.setUint16(at + REQUEST_COMMAND_AT, command)
  view.setUint32(at + REQUEST_COOKIE_HIGH_AT, cookieHigh)
  view.setUint32(at + REQUEST_COOKIE_LOW_AT, cookieLow)
  putU64(view, at + REQUEST_OFFSET_AT, offset)
  view.setUint32(at + REQUEST_LENGTH_AT, length)
}

/** Writes a simple reply header. The data of a read that succeeded follows it directly. */
export function putSimpleReply(
  view: DataView,
  at: number,
  error: number,
  cookieHigh: number,
  cookieLow: number,
): void {
  view.setUint32(at, NBD_SIMPLE_REPLY_MAGIC)
  view.setUint32(at + SIMPLE_REPLY_ERROR_AT, error)
  view.setUint32(at + SIMPLE_REPLY_COOKIE_HIGH_AT, cookieHigh)
  view.setUint32(at + SIMPLE_REPLY_COOKIE_LOW_AT, cookieLow)
}

/** Writes the header of a structured reply chunk; `length` is that of its payload. */
export function putStructuredReply(
  view: DataView,
  at: number,
  flags: number,
  type: number,
  cookieHigh: number,
  cookieLow: number,
  length: number,
): void {
  view.setUint32(at, NBD_STRUCTURED_REPLY_MAGIC)
  view.setUint16(at + STRUCTURED_REPLY_FLAGS_AT, flags)
  view.setUint16(at + STRUCTURED_REPLY_TYPE_AT, type)
  view.setUint32(at + STRUCTURED_REPLY_COOKIE_HIGH_AT, cookieHigh)
  view.setUint32(at + STRUCTURED_REPLY_COOKIE_LOW_AT, cookieLow)
  view.setUint32(at + STRUCTURED_REPLY_LENGTH_AT, length)
}

/** Writes header and offset of a data chunk, 28 bytes; `length` bytes of data follow directly. */
export function putOffsetData(
  view: DataView,
  at: number,
  flags: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  length: number,
): void {
  const payload = OFFSET_DATA_PREFIX_SIZE + length
  putStructuredReply(view, at, flags, NBD_REPLY_TYPE_OFFSET_DATA, cookieHigh, cookieLow, payload)
  putU64(view, at + STRUCTURED_REPLY_SIZE, offset)
}

/** Writes a whole hole chunk, 32 bytes: `length` bytes from `offset` on read as zeroes. */
export function putOffsetHole(
  view: DataView,
  at: number,
  flags: number,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
  length: number,
): void {
  const type = NBD_REPLY_TYPE_OFFSET_HOLE
  putStructuredReply(view, at, flags, type, cookieHigh, cookieLow, OFFSET_HOLE_SIZE)
  putU64(view, at + STRUCTURED_REPLY_SIZE, offset)
  view.setUint32(at + STRUCTURED_REPLY_SIZE + 8, length)
}

/** Writes a whole error chunk without message, 26 bytes; `error` must not be zero. */
export function putErrorChunk(
  view: DataView,
  at: number,
  flags: number,
  cookieHigh: number,
  cookieLow: number,
  error: number,
): void {
  const type = NBD_REPLY_TYPE_ERROR
  putStructuredReply(view, at, flags, type, cookieHigh, cookieLow, ERROR_CHUNK_PREFIX_SIZE)
  view.setUint32(at + STRUCTURED_REPLY_SIZE, error)
  view.setUint16(at + STRUCTURED_REPLY_SIZE + 4, 0)
}

/** Writes header and context id of a block status chunk, 24 bytes; `count` extents follow. */
export function putBlockStatus(
  view: DataView,
  at: number,
  flags: number,
  cookieHigh: number,
  cookieLow: number,
  contextId: number,
  count: number,
): void {
  const payload = BLOCK_STATUS_PREFIX_SIZE + count * EXTENT_SIZE
  putStructuredReply(view, at, flags, NBD_REPLY_TYPE_BLOCK_STATUS, cookieHigh, cookieLow, payload)
  view.setUint32(at + STRUCTURED_REPLY_SIZE, contextId)
}

/**
 * Writes one extent, 8 bytes, and returns the length it holds: an extent of 4 GiB and more is
 * cut to EXTENT_LENGTH_MAX, and the caller ends the chunk there or writes the rest as another.
 */
export function putExtent(view: DataView, at: number, length: number, flags: number): number {
  const put = Math.min(length, EXTENT_LENGTH_MAX)
  view.setUint32(at, put)
  view.setUint32(at + 4, flags)
  return put
}

/** Whether a request header starts here. */
export function isRequestMagic(view: DataView, at: number): boolean {
  return view.getUint32(at) === NBD_REQUEST_MAGIC
}

/** Whether a simple reply starts here. */
export function isSimpleReplyMagic(view: DataView, at: number): boolean {
  return view.getUint32(at) === NBD_SIMPLE_REPLY_MAGIC
}

/** Whether a structured reply chunk starts here. */
export function isStructuredReplyMagic(view: DataView, at: number): boolean {
  return view.getUint32(at) === NBD_STRUCTURED_REPLY_MAGIC
}
