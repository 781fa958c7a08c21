/**
 * The rules for what a server may say about one piece. Each broken rule throws ProtocolError,
 * because after it nothing that this server says can be trusted. Pure bookkeeping: nothing here
 * receives, and nothing is allocated unless a read is answered out of order.
 */
import {
  BLOCK_STATUS_PREFIX_SIZE,
  Coverage,
  ERROR_CHUNK_PREFIX_SIZE,
  ERROR_CHUNK_TRAILER_MAX,
  ERROR_CHUNKS_MAX,
  ERROR_OFFSET_SUFFIX_SIZE,
  EXTENT_SIZE,
  EXTENTS_PER_REPLY_MAX,
  getU64,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
  NBD_MAX_STRING,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
  OFFSET_DATA_PREFIX_SIZE,
  OFFSET_HOLE_SIZE,
  ProtocolError,
} from 'nbd-client-ts'
import { requestErrno } from './errno.ts'
import type { Piece } from './remote-piece.ts'

const STATE_MASK = NBD_STATE_HOLE | NBD_STATE_ZERO
const ERROR_CHUNK_MAX = ERROR_CHUNK_PREFIX_SIZE + NBD_MAX_STRING + ERROR_CHUNK_TRAILER_MAX

/**
 * Bytes of a chunk's payload that are taken together with its header. Checks the payload's length.
 */
export function fixedPart(piece: Piece, type: number, length: number): number {
  const { command } = piece.request
  if (type >= NBD_REPLY_TYPE_FLAG_ERROR) {
    checkLength(type, length, ERROR_CHUNK_PREFIX_SIZE, ERROR_CHUNK_MAX)
    return length
  }
  if (type === NBD_REPLY_TYPE_NONE) {
    checkLength(type, length, 0, 0)
    return 0
  }
  if (type === NBD_REPLY_TYPE_OFFSET_DATA && command === NBD_CMD_READ) {
    checkLength(type, length, OFFSET_DATA_PREFIX_SIZE + 1, OFFSET_DATA_PREFIX_SIZE + piece.length)
    return OFFSET_DATA_PREFIX_SIZE
  }
  if (type === NBD_REPLY_TYPE_OFFSET_HOLE && command === NBD_CMD_READ) {
    checkLength(type, length, OFFSET_HOLE_SIZE, OFFSET_HOLE_SIZE)
    return OFFSET_HOLE_SIZE
  }
  if (type === NBD_REPLY_TYPE_BLOCK_STATUS && command === NBD_CMD_BLOCK_STATUS) {
    const max = BLOCK_STATUS_PREFIX_SIZE + EXTENT_SIZE * EXTENTS_PER_REPLY_MAX
    checkLength(type, length, BLOCK_STATUS_PREFIX_SIZE + EXTENT_SIZE, max)
    if ((length - BLOCK_STATUS_PREFIX_SIZE) % EXTENT_SIZE !== 0) {
      throw new ProtocolError('block status', 'whole extents', `length=${length}`)
    }
    return BLOCK_STATUS_PREFIX_SIZE
  }
  throw new ProtocolError(`reply to command ${command}`, 'a chunk of that command', `type ${type}`)
}

function checkLength(type: number, length: number, min: number, max: number): void {
  if (length >= min && length <= max) return
  throw new ProtocolError(`chunk of type ${type}`, `${min} to ${max} bytes`, `${length}`)
}

/** Takes note of `length` bytes of a read's content at `offset`, before they are stored. */
export function addContent(piece: Piece, offset: number, length: number): void {
  const end = piece.offset + piece.length
  if (length === 0 || offset < piece.offset || offset + length > end) {
    const expected = `within offset=${piece.offset} length=${piece.length}`
    throw new ProtocolError('content of a read', expected, `offset=${offset} length=${length}`)
  }
  const isNext = piece.coverage === undefined && offset === piece.offset + piece.covered
  if (!isNext) {
    if (piece.coverage === undefined) {
      piece.coverage = new Coverage()
      if (piece.covered > 0) piece.coverage.add(piece.offset, piece.covered)
    }
    piece.coverage.add(offset, length)
  }
  piece.covered += length
}

/**
 * Takes note of an error chunk, whose `length` bytes of payload are at `at`; the first one counts.
 */
export function addError(
  piece: Piece,
  type: number,
  view: DataView,
  at: number,
  length: number,
): void {
  const value = view.getUint32(at)
  const messageLength = view.getUint16(at + 4)
  const suffix = type === NBD_REPLY_TYPE_ERROR_OFFSET ? ERROR_OFFSET_SUFFIX_SIZE : 0
  if (messageLength > NBD_MAX_STRING || ERROR_CHUNK_PREFIX_SIZE + messageLength + suffix > length) {
    const expected = 'a message within its chunk'
    throw new ProtocolError('error chunk', expected, `${messageLength} bytes of ${length}`)
  }
  if (value === 0) throw new ProtocolError('error chunk', 'an error', '0')
  if (++piece.errors > ERROR_CHUNKS_MAX) {
    throw new ProtocolError('error chunks of a reply', `at most ${ERROR_CHUNKS_MAX}`, 'more')
  }
  if (suffix > 0) {
    const offset = getU64(view, at + ERROR_CHUNK_PREFIX_SIZE + messageLength)
    if (offset < piece.offset || offset >= piece.offset + piece.length) {
      const expected = `within offset=${piece.offset} length=${piece.length}`
      throw new ProtocolError('offset of an error', expected, `${offset}`)
    }
  }
  if (piece.error === 0) piece.error = requestErrno(value)
}

/**
 * Takes the extent that follows `piece.covered` bytes; `isLast` if the chunk ends with it. Only the
 * last may reach beyond the request, and is cut there. The answer ends early at an extent that is
 * not whole blocks or has no room: after a gap the offsets of what follows would be wrong.
 */
export function addExtent(
  piece: Piece,
  length: number,
  flags: number,
  isLast: boolean,
  blockSize: number,
): void {
  const isOne = (piece.request.flags & NBD_CMD_FLAG_REQ_ONE) !== 0
  const end = piece.covered + length
  if (length === 0) throw new ProtocolError('block status', 'extents with a length', 'length=0')
  if (isOne && (!isLast || length > piece.length)) {
    const expected = `one extent up to ${piece.length} bytes`
    throw new ProtocolError('block status with NBD_CMD_FLAG_REQ_ONE', expected, `${length}`)
  }
  if (!isLast && end >= piece.length) {
    const expected = `no extent after ${piece.length} bytes`
    throw new ProtocolError('block status', expected, `one after ${end} bytes`)
  }
  if (!piece.isCut) {
    const inside = Math.min(length, piece.length - piece.covered)
    const whole = inside - (inside % blockSize)
    const hasRoom = whole === 0 || piece.request.extents!.add(whole, flags & STATE_MASK)
    piece.isCut = !hasRoom || whole < inside
  }
  piece.covered = end
}

/** The last chunk has come: a success must have delivered what was asked for. */
export function checkComplete(piece: Piece): void {
  if (piece.error !== 0) return
  const { command, extents } = piece.request
  if (command === NBD_CMD_READ && piece.covered !== piece.length) {
    throw new ProtocolError('reply to a read', `${piece.length} bytes`, `${piece.covered}`)
  }
  if (command === NBD_CMD_BLOCK_STATUS) {
    if (!piece.hasExtents) throw new ProtocolError('reply to block status', 'extents', 'none')
    // Nothing usable: not knowing is answered as data.
    if (extents!.count === 0) extents!.add(piece.length, 0)
  }
}
