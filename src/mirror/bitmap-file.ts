/**
 * The layout of a bitmap file: a page of header that says which disk and which target the bits are
 * about, the claims, the flush log, and the bits. Pure bytes: whoever maps the file passes them in,
 * and the mapping outlives the process.
 *
 * Invariant: whatever prefix of its stores a killed process has made, opening the bytes gives a
 * bitmap in which every chunk that may differ is dirty. The magic is stored last, so a file that
 * was never finished is not one.
 */
import { type BitmapOptions, bitmapBytes, CHUNKS_MAX, DirtyBitmap } from './bitmap.ts'
import { CLAIM_BYTES, Claims } from './claims.ts'
import { FlushLog, LOG_ENTRY_BYTES, LOG_HEADER_BYTES } from './flush-log.ts'
import { Tracking, type TrackingParts } from './tracking.ts'

export const GRANULARITY_MIN = 4096
export const GRANULARITY_MAX = 1024 * 1024
export const GRANULARITY_DEFAULT = 64 * 1024
/**
 * One more than operations of the copier that can be under way at one time: the last says that the
 * bits are void.
 */
export const CLAIMS_MAX = 256
/** Runs written to the target between two flushes. */
export const LOG_ENTRIES_MAX = 65536
/** Bytes of UTF-8 of an identity. */
export const IDENTITY_BYTES_MAX = 1024

const MAGIC = 'blkferry dirty\r\n'
const VERSION = 1
const PAGE = 4096
const CHECKSUM_AT = 16
const VERSION_AT = 20
const SIZE_AT = 24
const GRANULARITY_AT = 32
const DISK_AT = 64
const TARGET_AT = DISK_AT + 4 + IDENTITY_BYTES_MAX
const HEADER_END = TARGET_AT + 4 + IDENTITY_BYTES_MAX
const CLAIMS_AT = PAGE
const LOG_AT = CLAIMS_AT + PAGE
const BITS_AT = LOG_AT + PAGE + LOG_ENTRIES_MAX * LOG_ENTRY_BYTES

/** What a bitmap is about. */
export interface BitmapIdentity {
  /** Bytes of the disk. */
  readonly size: number
  readonly granularity: number
  /**
   * Names the disk so that no other has the same name: a path, or better a serial number or UUID.
   */
  readonly disk: string
  /** The target's URI. */
  readonly target: string
}

/**
 * The bytes are not the bitmap that was asked for. The message is a sentence that says what to do.
 */
export class BitmapFileError extends Error {
  override readonly name = 'BitmapFileError'
  readonly code: 'damaged' | 'version' | 'disk' | 'size' | 'target' | 'granularity'

  constructor(code: BitmapFileError['code'], message: string) {
    super(message)
    this.code = code
  }
}

/** Bytes of a bitmap file. */
export function bitmapFileBytes(size: number, granularity: number): number {
  return BITS_AT + Math.ceil(bitmapBytes(size, granularity) / PAGE) * PAGE
}

/**
 * Says in a sentence why a granularity will not do for a disk of `size` bytes; undefined if it
 * will.
 */
export function granularityProblem(size: number, granularity: number): string | undefined {
  if (!Number.isInteger(Math.log2(granularity))) return 'granularity has to be a power of two'
  if (granularity < GRANULARITY_MIN || granularity > GRANULARITY_MAX) {
    return 'granularity has to be from 4 KiB to 1 MiB'
  }
  if (size / granularity > CHUNKS_MAX) {
    return `a disk of ${size} bytes needs a granularity above ${granularity} bytes`
  }
  return undefined
}

/** Makes zeroed bytes a bitmap file in which everything is dirty. */
export function createBitmapFile(file: Uint8Array, identity: BitmapIdentity): Tracking {
  const problem = granularityProblem(identity.size, identity.granularity)
  if (problem !== undefined) throw new BitmapFileError('granularity', problem)
  const view = viewOf(file)
  const parts = partsOf(file, { ...identity, isAllDirty: true })
  parts.claims.drain(() => {})
  parts.log.drain(() => {})
  file.fill(0, 0, HEADER_END)
  view.setUint32(VERSION_AT, VERSION, true)
  view.setFloat64(SIZE_AT, identity.size, true)
  view.setUint32(GRANULARITY_AT, identity.granularity, true)
  putString(file, DISK_AT, identity.disk)
  putString(file, TARGET_AT, identity.target)
  view.setUint32(CHECKSUM_AT, checksum(file), true)
  file.set(Buffer.from(MAGIC, 'latin1'), 0)
  return new Tracking(parts)
}

/** What a bitmap file is about. Throws BitmapFileError `damaged` or `version`. */
export function readBitmapIdentity(file: Uint8Array): BitmapIdentity {
  const view = viewOf(file)
  if (file.length < BITS_AT || Buffer.from(file.subarray(0, 16)).toString('latin1') !== MAGIC) {
    throw damaged('it does not start as one')
  }
  const version = view.getUint32(VERSION_AT, true)
  if (version !== VERSION) {
    const found = `bitmap file is of version ${version}, this program reads version ${VERSION}`
    throw new BitmapFileError('version', `${found}: remove it and start the mirror anew`)
  }
  if (view.getUint32(CHECKSUM_AT, true) !== checksum(file)) throw damaged('its checksum is wrong')
  const size = view.getFloat64(SIZE_AT, true)
  const granularity = view.getUint32(GRANULARITY_AT, true)
  const disk = getString(file, DISK_AT)
  const target = getString(file, TARGET_AT)
  if (file.length < bitmapFileBytes(size, granularity)) throw damaged('it has been cut short')
  return { size, granularity, disk, target }
}

/**
 * Opens a bitmap file that a former process has left. Runs that were being copied, or not flushed
 * on the target, are dirty. The granularity is the file's own. Throws BitmapFileError if it is
 * about another disk, size or target, and then changes nothing.
 */
export function openBitmapFile(
  file: Uint8Array,
  expected: Omit<BitmapIdentity, 'granularity'>,
): Tracking {
  const found = readBitmapIdentity(file)
  if (found.disk !== expected.disk) throw isAbout('disk', found.disk, expected.disk)
  if (found.size !== expected.size) throw isAbout('size', found.size, expected.size)
  if (found.target !== expected.target) throw isAbout('target', found.target, expected.target)
  const parts = partsOf(file, found)
  recover(parts)
  return new Tracking(parts)
}

/** Makes dirty what the claims and the log of a former process stand for, then empties them. */
export function recover({ bitmap, claims, log }: TrackingParts): void {
  const setRun = (first: number, end: number) => bitmap.set(first, Math.min(end, bitmap.chunks))
  claims.drain(setRun)
  log.drain(setRun)
}

function partsOf(
  file: Uint8Array,
  { size, granularity, isAllDirty }: Omit<BitmapOptions, 'storage'>,
): TrackingParts {
  const logBytes = LOG_HEADER_BYTES + LOG_ENTRIES_MAX * LOG_ENTRY_BYTES
  return {
    claims: new Claims(file.subarray(CLAIMS_AT, CLAIMS_AT + CLAIMS_MAX * CLAIM_BYTES)),
    log: new FlushLog(file.subarray(LOG_AT, LOG_AT + logBytes)),
    bitmap: new DirtyBitmap({ storage: file.subarray(BITS_AT), size, granularity, isAllDirty }),
  }
}

function damaged(how: string): BitmapFileError {
  return new BitmapFileError(
    'damaged',
    `bitmap file is damaged, ${how}: remove it and start the mirror ` +
      'anew, which copies the whole disk',
  )
}

function isAbout(code: 'disk' | 'size' | 'target', found: unknown, expected: unknown) {
  const message = `bitmap file is about ${code} ${found} and not ${expected}`
  return new BitmapFileError(
    code,
    `${message}: name its own, or remove it and start the mirror anew`,
  )
}

function viewOf(file: Uint8Array): DataView {
  return new DataView(file.buffer, file.byteOffset, file.byteLength)
}

function putString(file: Uint8Array, at: number, text: string): void {
  const bytes = Buffer.from(text, 'utf8')
  if (bytes.length > IDENTITY_BYTES_MAX) {
    throw new BitmapFileError('damaged', `identity is longer than ${IDENTITY_BYTES_MAX} bytes`)
  }
  viewOf(file).setUint32(at, bytes.length, true)
  file.set(bytes, at + 4)
}

function getString(file: Uint8Array, at: number): string {
  const length = Math.min(viewOf(file).getUint32(at, true), IDENTITY_BYTES_MAX)
  return Buffer.from(file.subarray(at + 4, at + 4 + length)).toString('utf8')
}

/** FNV-1a of the header behind the checksum: against damage, not against an adversary. */
function checksum(file: Uint8Array): number {
  let hash = 0x811c9dc5
  for (let at = VERSION_AT; at < HEADER_END; at++) hash = Math.imul(hash ^ file[at]!, 0x01000193)
  return hash >>> 0
}
