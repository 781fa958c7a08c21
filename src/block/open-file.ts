/**
 * Opens a file or a block device for us alone, and finds out what it can do. Direct I/O is decided
 * here once: block devices always, files where a real read at their alignment works; direct and
 * buffered I/O are never mixed on one disk. Set-up code: it blocks, for at most LOCK_WAIT_MS where
 * a lock is taken. The caller owns the fd that it returns.
 */
import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  type Stats,
  statfsSync,
  statSync,
} from 'node:fs'
import { flockSync, seekSync } from 'fs-ext'
import type { Clock } from '../io/clock.ts'
import {
  BLKROGET,
  BLKROTATIONAL,
  BLKSSZGET,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  fallocate,
  ioctl16,
  ioctl32,
} from '../io/libc.ts'
import { PAGE_SIZE } from '../io/memory.ts'
import { mapAnonymous, unmap } from '../io/mmap.ts'

export interface OpenFileOptions {
  readonly readOnly?: boolean
  /** Device-mapper holds the block device already, so that it cannot be claimed. */
  readonly held?: boolean
  /**
   * `auto`: direct I/O where it can be. `on`: refuse to go without. `off`: refused for block
   * devices.
   */
  readonly direct?: 'auto' | 'on' | 'off'
}

/** What there is to know of an open file. */
export interface OpenedFile {
  readonly fd: number
  /** Bytes. */
  readonly size: number
  readonly blockSize: number
  readonly isBlockDevice: boolean
  readonly isReadOnly: boolean
  readonly isRotational: boolean
  readonly isDirect: boolean
  /** Zeroes come at no cost: a hole in a file, an offloaded write zeroes on a device. */
  readonly canPunch: boolean
  readonly canSeekData: boolean
  /** On tmpfs or ramfs: nothing is waited for. */
  readonly isInMemory: boolean
}

/** A disk that cannot be opened; the message says what to do. */
export class OpenError extends Error {
  override readonly name = 'OpenError'
  readonly path: string

  constructor(path: string, problem: string, cause?: unknown) {
    super(`${path}: ${problem}`, { cause })
    this.path = path
  }
}

/**
 * Longest wait for a lock that somebody has just now: udev takes a shared one while it looks at a
 * new device (ms).
 */
export const LOCK_WAIT_MS = 2000
const LOCK_RETRY_MS = 50
export const SEEK_END = 2
export const SEEK_DATA = 3
/** statfs(2): tmpfs, ramfs. */
const MEMORY_FILE_SYSTEMS = [0x01021994, 0x858458f6]
/** Alignments of direct I/O that are tried on files (bytes). */
const FILE_ALIGNMENTS = [512, 4096]

/** Throws OpenError. */
export async function openDisk(
  path: string,
  clock: Clock,
  options: OpenFileOptions,
): Promise<OpenedFile> {
  const { direct = 'auto' } = options
  const stats = look(path)
  if (stats.isBlockDevice()) {
    if (direct === 'off') {
      throw new OpenError(path, 'a block device is only served with direct I/O; leave it on')
    }
    return openAttempt(path, clock, options, true)
  }
  if (direct !== 'off') {
    try {
      return await openAttempt(path, clock, options, true)
    } catch (error) {
      if (direct === 'on' || !(error instanceof NoDirectError)) throw error
    }
  }
  return openAttempt(path, clock, options, false)
}

/** Direct I/O is not possible, which `auto` can live with. */
class NoDirectError extends OpenError {}

function look(path: string): Stats {
  let stats: Stats
  try {
    stats = statSync(path)
  } catch (error) {
    throw openError(path, error)
  }
  if (stats.isDirectory()) throw new OpenError(path, 'is a directory; name a file or a device')
  if (!stats.isFile() && !stats.isBlockDevice()) {
    throw new OpenError(path, 'is neither a file nor a block device')
  }
  return stats
}

async function openAttempt(
  path: string,
  clock: Clock,
  options: OpenFileOptions,
  isDirect: boolean,
): Promise<OpenedFile> {
  const isReadOnly = options.readOnly ?? false
  const fd = open(path, options, isDirect)
  try {
    await lock(path, fd, isReadOnly, clock)
    return fstatSync(fd).isBlockDevice()
      ? examineDevice(path, fd, isReadOnly)
      : examineFile(path, fd, isReadOnly, isDirect)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function open(path: string, options: OpenFileOptions, isDirect: boolean): number {
  let flags = options.readOnly ? constants.O_RDONLY : constants.O_RDWR
  if (isDirect) flags |= constants.O_DIRECT
  // On a block device O_EXCL claims it against mounts and device-mapper; without O_CREAT it means
  // nothing on a file.
  if (!options.held && look(path).isBlockDevice()) flags |= constants.O_EXCL
  try {
    return openSync(path, flags)
  } catch (error) {
    if (isDirect && codeOf(error) === 'EINVAL') {
      throw new NoDirectError(path, 'direct I/O is not possible here', error)
    }
    throw openError(path, error)
  }
}

async function lock(path: string, fd: number, isReadOnly: boolean, clock: Clock): Promise<void> {
  const deadline = clock.now() + LOCK_WAIT_MS
  for (;;) {
    try {
      flockSync(fd, isReadOnly ? 'shnb' : 'exnb')
      return
    } catch (error) {
      const isTaken = codeOf(error) === 'EAGAIN' || codeOf(error) === 'EWOULDBLOCK'
      if (!isTaken) throw new OpenError(path, `cannot be locked (${codeOf(error)})`, error)
      if (clock.now() >= deadline) {
        throw new OpenError(path, 'is in use by another process; stop that one first', error)
      }
    }
    await new Promise<void>(resolve => clock.createTimer(resolve).arm(LOCK_RETRY_MS))
  }
}

function examineDevice(path: string, fd: number, isReadOnly: boolean): OpenedFile {
  const size = sizeOf(path, fd)
  const blockSize = ioctl32(fd, BLKSSZGET)
  if (blockSize < 512) throw new OpenError(path, 'its logical block size cannot be read')
  if (size % blockSize !== 0) {
    throw new OpenError(path, `its size ${size} is not a multiple of its block size ${blockSize}`)
  }
  if (!isReadOnly && ioctl32(fd, BLKROGET) === 1) {
    throw new OpenError(path, 'is a read-only device; serve it read-only')
  }
  if (!canRead(fd, blockSize))
    throw new OpenError(path, 'direct I/O is not possible on this device')
  return {
    fd,
    size,
    blockSize,
    isBlockDevice: true,
    isReadOnly,
    isRotational: ioctl16(fd, BLKROTATIONAL) === 1,
    isDirect: true,
    canPunch: !isReadOnly && canOffloadZeroes(fd),
    canSeekData: false,
    isInMemory: false,
  }
}

function examineFile(path: string, fd: number, isReadOnly: boolean, isDirect: boolean): OpenedFile {
  const size = sizeOf(path, fd)
  const blockSize = isDirect
    ? FILE_ALIGNMENTS.find(alignment => size % alignment === 0 && canRead(fd, alignment))
    : 1
  if (blockSize === undefined) {
    const problem = `direct I/O is not possible here, or its size ${size} does not allow it`
    throw new NoDirectError(path, problem)
  }
  return {
    fd,
    size,
    blockSize,
    isBlockDevice: false,
    isReadOnly,
    isRotational: false,
    isDirect,
    canPunch: !isReadOnly && canPunchFile(fd, size),
    canSeekData: canSeekData(fd),
    isInMemory: MEMORY_FILE_SYSTEMS.includes(statfsSync(`/proc/self/fd/${fd}`).type),
  }
}

function sizeOf(path: string, fd: number): number {
  const size = seekSync(fd, 0, SEEK_END)
  if (size === 0) throw new OpenError(path, 'is empty; a disk has at least one block')
  return size
}

/**
 * Tries a real read: what the file system says of its alignment is not always what the disk below
 * it takes.
 */
function canRead(fd: number, length: number): boolean {
  const memory = mapAnonymous(PAGE_SIZE * Math.ceil(length / PAGE_SIZE))
  try {
    return readSync(fd, memory.bytes, 0, length, 0) === length
  } catch (error) {
    if (codeOf(error) === 'EINVAL') return false
    throw error
  } finally {
    unmap(memory)
  }
}

/** Punches behind the end of the file, where there is nothing. */
function canPunchFile(fd: number, size: number): boolean {
  const behind = (Math.floor(size / PAGE_SIZE) + 1) * PAGE_SIZE
  return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, behind, PAGE_SIZE) === 0
}

/** What the kernel's queue says of its write zeroes. There is no harmless request to try. */
function canOffloadZeroes(fd: number): boolean {
  const { rdev } = fstatSync(fd, { bigint: true })
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)
  const device = `/sys/dev/block/${major}:${minor}`
  // A partition has its queue in the folder of its disk.
  for (const queue of [`${device}/queue`, `${device}/../queue`]) {
    try {
      return Number(readFileSync(`${queue}/write_zeroes_max_bytes`, 'utf8')) > 0
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error
    }
  }
  return false
}

function canSeekData(fd: number): boolean {
  try {
    seekSync(fd, 0, SEEK_DATA)
    return true
  } catch (error) {
    // ENXIO: supported, and there is no data at all.
    return codeOf(error) === 'ENXIO'
  }
}

const PROBLEMS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or device; check the path, or create it first',
  ENOTDIR: 'no such file or device; check the path, or create it first',
  EACCES: 'permission denied; run as root, or change its mode',
  EPERM: 'permission denied; run as root, or change its mode',
  EROFS: 'is read-only; serve it read-only',
  EBUSY: 'is in use (mounted, or held by device-mapper); release it, or say that it is held',
  ENXIO: 'there is no device behind this name',
  ENOMEDIUM: 'there is no medium in this device',
}

function openError(path: string, error: unknown): OpenError {
  const code = codeOf(error)
  return new OpenError(path, PROBLEMS[code] ?? `cannot be opened (${code})`, error)
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error)
}
