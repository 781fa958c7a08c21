/**
 * The dirty bitmap's memory: a shared mapping of the file that the operator named, which outlives a
 * killed process, or memory of our own. It is opened at start, before the first request, and made
 * anew for another target or granularity.
 *
 * Invariants: the file is there exactly while some mirror needs its bits. An orderly end removes
 * it, because nobody keeps the bits from then on and a later mirror must not believe them. While it
 * is mapped it is locked and has all of its blocks: a file that somebody else shortens, or that
 * meets a full file system, would kill the process at the next store.
 */
import assert from 'node:assert/strict'
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs'
import { flockSync } from 'fs-ext'
import { check, fallocate } from '../io/libc.ts'
import type { Memory } from '../io/memory.ts'
import { mapAnonymous, mapShared, unmap } from '../io/mmap.ts'
import {
  type BitmapIdentity,
  bitmapFileBytes,
  createBitmapFile,
  openBitmapFile,
  readBitmapIdentity,
} from '../mirror/bitmap-file.ts'
import type { Tracking } from '../mirror/tracking.ts'

interface Kept {
  /** Of the file, locked; undefined for memory of our own. */
  readonly fd: number | undefined
  readonly memory: Memory
  readonly tracking: Tracking
  readonly target: string
  readonly granularity: number
}

export class BitmapStore {
  readonly #path: string | undefined
  readonly #disk: string
  readonly #size: number
  #kept: Kept | undefined

  /** `diskPath` is open already; `size` is that of its device. */
  constructor(path: string | undefined, diskPath: string, size: number) {
    this.#path = path
    this.#disk = diskIdentity(diskPath)
    this.#size = size
  }

  /** The bits that are being kept, of this process or a former one. */
  get tracking(): Tracking | undefined {
    return this.#kept?.tracking
  }

  /**
   * Opens what a killed process has left; undefined when there is nothing. Throws a sentence, and
   * changes nothing, when the file is not about this disk.
   */
  restore(): Tracking | undefined {
    if (this.#path === undefined) return undefined
    if (statSync(this.#path, { throwIfNoEntry: false }) === undefined) return undefined
    return attempt(this.#path, constants.O_RDWR, fd => {
      const { size } = fstatSync(fd)
      if (size === 0) {
        closeSync(fd)
        return undefined
      }
      const memory = mapFile(fd, size)
      try {
        const { target, granularity, disk } = readBitmapIdentity(memory.bytes)
        this.#assertSameBoot(disk)
        const expected = { disk: this.#disk, size: this.#size, target }
        const tracking = openBitmapFile(memory.bytes, expected)
        this.#kept = { fd, memory, tracking, target, granularity }
        return tracking
      } catch (error) {
        unmap(memory)
        throw error
      }
    })
  }

  /**
   * Whether the bits that are kept are about this target, so that a mirror to it sends only what is
   * dirty.
   */
  isFor(target: string, granularity: number): boolean {
    return this.#kept?.target === target && this.#kept.granularity === granularity
  }

  /**
   * The bits for a mirror to `target`: those that are kept if they are about it, else new ones, all
   * dirty. Throws a sentence, and leaves nothing behind, when they cannot be kept.
   */
  open(target: string, granularity: number): Tracking {
    if (this.#kept !== undefined) {
      assert(this.isFor(target, granularity), 'bitmap: kept for another target')
      return this.#kept.tracking
    }
    const bytes = bitmapFileBytes(this.#size, granularity)
    const identity: BitmapIdentity = { disk: this.#disk, size: this.#size, target, granularity }
    const keep = (fd: number | undefined, memory: Memory): Tracking => {
      try {
        const tracking = createBitmapFile(memory.bytes, identity)
        this.#kept = { fd, memory, tracking, target, granularity }
        return tracking
      } catch (error) {
        unmap(memory)
        throw error
      }
    }
    if (this.#path === undefined) return keep(undefined, mapAnonymous(bytes))
    const path = this.#path
    return attempt(path, constants.O_RDWR | constants.O_CREAT, fd => {
      // What a killed process left was found at the start: this is somebody else's.
      if (fstatSync(fd).size > 0)
        throw new Error('it is not empty: remove it, or name another file')
      try {
        ftruncateSync(fd, bytes)
        return keep(fd, mapFile(fd, bytes))
      } catch (error) {
        rmSync(path, { force: true })
        throw error
      }
    })
  }

  /**
   * Nobody needs the bits any more, and no write marks them. Throws when the file cannot be
   * removed; it is empty then, which means the same.
   */
  remove(): void {
    const kept = this.#kept
    if (kept === undefined) return
    this.#kept = undefined
    unmap(kept.memory)
    if (kept.fd === undefined || this.#path === undefined) return
    try {
      ftruncateSync(kept.fd, 0)
      rmSync(this.#path, { force: true })
    } catch (error) {
      throw sentence(this.#path, error)
    } finally {
      closeSync(kept.fd)
    }
  }

  #assertSameBoot(found: string): void {
    const [device, boot] = this.#disk.split(BOOT)
    const [foundDevice, foundBoot] = found.split(BOOT)
    if (foundDevice !== device || foundBoot === boot) return
    const why =
      'it was kept before the last boot, and what a crash of the host has cost it is unknown'
    throw new Error(`${why}: remove it and start the mirror anew, which copies the whole disk`)
  }
}

/** Opens and locks a file for `use`, which owns it if it returns; a failure becomes a sentence. */
function attempt<T>(path: string, flags: number, use: (fd: number) => T): T {
  let fd: number | undefined
  try {
    fd = openSync(path, flags, 0o600)
    if (!fstatSync(fd).isFile()) throw new Error('it is not a file: name another path')
    lock(fd)
    return use(fd)
  } catch (error) {
    if (fd !== undefined) closeSync(fd)
    throw sentence(path, error)
  }
}

function lock(fd: number): void {
  try {
    flockSync(fd, 'exnb')
  } catch (error) {
    throw new Error('it is in use by another process: name another file', { cause: error })
  }
}

/** Maps `bytes` of a file, having made sure that every one has a block behind it. */
function mapFile(fd: number, bytes: number): Memory {
  check(fallocate(fd, 0, 0, bytes), 'fallocate')
  return mapShared(fd, bytes)
}

const BOOT = ', boot '

/**
 * A device's number, or a file's place, and this boot: a host that crashes may lose stores of a
 * mapping, and gives devices other numbers afterwards.
 */
function diskIdentity(path: string): string {
  const { dev, ino, rdev, mode } = statSync(path)
  const isBlockDevice = (mode & constants.S_IFMT) === constants.S_IFBLK
  const device = isBlockDevice ? `block device ${rdev}` : `file ${dev}:${ino}`
  return device + BOOT + readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

function sentence(path: string, error: unknown): Error {
  return new Error(`bitmap ${path}: ${(error as Error).message}`, { cause: error })
}
