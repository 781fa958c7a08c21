// Which structured reply chunks may answer which command, how long they may be, and what an error
// chunk says. Pure functions over a header and a payload; broken rules throw ProtocolError.

import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_MAX_STRING,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from './constants.ts'
import { ProtocolError } from './errors.ts'
import { ERROR_CHUNK_TRAILER_MAX, EXTENTS_PER_REPLY_MAX } from './limits.ts'
import { lossyText } from './payload.ts'
import type { ReplyRequest } from './reply-progress.ts'
import * as wire from './wire.ts'

/** Longest error chunk payload (bytes) that is accepted. */
export const ERROR_CHUNK_MAX =
  wire.ERROR_CHUNK_PREFIX_SIZE + NBD_MAX_STRING + ERROR_CHUNK_TRAILER_MAX

/** Header of a structured reply chunk. */
export interface ChunkHeader {
  readonly type: number
  /** Length of the payload in bytes. */
  readonly payload: number
  readonly isDone: boolean
}

/** What of a chunk's payload comes first; 'none' if there is no payload. */
export type FirstPart = 'none' | 'offset' | 'hole' | 'error' | 'context'

/** Checks a chunk's header against the request it answers and says how its payload begins. */
export function firstPartOf(header: ChunkHeader, { command, length }: ReplyRequest): FirstPart {
  const { type, isDone } = header
  if (type >= NBD_REPLY_TYPE_FLAG_ERROR) {
    checkPayload(header, wire.ERROR_CHUNK_PREFIX_SIZE, ERROR_CHUNK_MAX)
    return 'error'
  }
  if (type === NBD_REPLY_TYPE_NONE) {
    checkPayload(header, 0, 0)
    if (!isDone) throw new ProtocolError('NBD_REPLY_TYPE_NONE', 'the flag DONE', 'none')
    return 'none'
  }
  if (type === NBD_REPLY_TYPE_OFFSET_DATA && command === NBD_CMD_READ) {
    const prefix = wire.OFFSET_DATA_PREFIX_SIZE
    checkPayload(header, prefix + 1, prefix + length)
    return 'offset'
  }
  if (type === NBD_REPLY_TYPE_OFFSET_HOLE && command === NBD_CMD_READ) {
    checkPayload(header, wire.OFFSET_HOLE_SIZE, wire.OFFSET_HOLE_SIZE)
    return 'hole'
  }
  if (type === NBD_REPLY_TYPE_BLOCK_STATUS && command === NBD_CMD_BLOCK_STATUS) {
    checkExtents(header)
    return 'context'
  }
  const expected = 'a chunk type of that command'
  throw new ProtocolError(`reply to command ${command}`, expected, `type ${type}`)
}

/** Number of extents in a block status chunk. */
export function extentCountOf({ payload }: ChunkHeader): number {
  return (payload - wire.BLOCK_STATUS_PREFIX_SIZE) / wire.EXTENT_SIZE
}

/** What an error chunk says; unknown kinds of error are read as far as all kinds agree. */
export function decodeErrorChunk(
  { type, payload }: ChunkHeader,
  bytes: Uint8Array,
): { error: number; message: string; offset: number | undefined } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, payload)
  const messageLength = view.getUint16(4)
  const hasOffset = type === NBD_REPLY_TYPE_ERROR_OFFSET
  const fixed = wire.ERROR_CHUNK_PREFIX_SIZE + (hasOffset ? wire.ERROR_OFFSET_SUFFIX_SIZE : 0)
  if (messageLength > NBD_MAX_STRING || fixed + messageLength > payload) {
    const expected = `one within ${NBD_MAX_STRING} bytes and its chunk`
    throw new ProtocolError('message of an error chunk', expected, `${messageLength} bytes`)
  }
  const messageEnd = wire.ERROR_CHUNK_PREFIX_SIZE + messageLength
  return {
    error: view.getUint32(0),
    message: lossyText(bytes.subarray(wire.ERROR_CHUNK_PREFIX_SIZE, messageEnd)),
    offset: hasOffset ? wire.getU64(view, messageEnd) : undefined,
  }
}

function checkExtents(header: ChunkHeader): void {
  const min = wire.BLOCK_STATUS_PREFIX_SIZE + wire.EXTENT_SIZE
  const max = wire.BLOCK_STATUS_PREFIX_SIZE + wire.EXTENT_SIZE * EXTENTS_PER_REPLY_MAX
  checkPayload(header, min, max)
  if (!Number.isInteger(extentCountOf(header))) {
    throw new ProtocolError('block status', 'whole extents', `${header.payload} bytes`)
  }
}

function checkPayload({ type, payload }: ChunkHeader, min: number, max: number): void {
  if (payload >= min && payload <= max) return
  const expected = min === max ? `${min} bytes` : `${min} to ${max} bytes`
  throw new ProtocolError(`payload of chunk type ${type}`, expected, `${payload}`)
}
