/**
 * The dirty bitmap's memory: a shared mapping of the file that the operator named, which outlives a
 * killed process, or memory of our own. It is opened at start, before the first request, and made
 * anew for another target or granularity.
 *
 * Invariant: the file is there exactly while some mirror needs its bits. An orderly end removes it,
 * because nobody keeps the bits from then on and a later mirror must not believe them.
 */
import assert from 'node:assert/strict'
import { closeSync, constants, fstatSync, ftruncateSync, openSync, rmSync, statSync } from 'node:fs'
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
    const file = statSync(this.#path, { throwIfNoEntry: false })
    if (file === undefined || file.size === 0) return undefined
    const memory = this.#mapFile(this.#path, undefined)
    try {
      const { target, granularity } = readBitmapIdentity(memory.bytes)
      const expected = { disk: this.#disk, size: this.#size, target }
      const tracking = openBitmapFile(memory.bytes, expected)
      this.#kept = { memory, tracking, target, granularity }
      return tracking
    } catch (error) {
      unmap(memory)
      throw sentence(this.#path, error)
    }
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
   * dirty.
   */
  open(target: string, granularity: number): Tracking {
    if (this.#kept !== undefined) {
      assert(this.isFor(target, granularity), 'bitmap: kept for another target')
      return this.#kept.tracking
    }
    const bytes = bitmapFileBytes(this.#size, granularity)
    const memory = this.#path === undefined ? mapAnonymous(bytes) : this.#mapFile(this.#path, bytes)
    const identity: BitmapIdentity = { disk: this.#disk, size: this.#size, target, granularity }
    const tracking = createBitmapFile(memory.bytes, identity)
    this.#kept = { memory, tracking, target, granularity }
    return tracking
  }

  /** Nobody needs the bits any more, and no write marks them. */
  remove(): void {
    if (this.#kept === undefined) return
    if (this.#path !== undefined) rmSync(this.#path, { force: true })
    unmap(this.#kept.memory)
    this.#kept = undefined
  }

  /** Maps the whole file; with `bytes` it is made, or emptied, and given that size. */
  #mapFile(path: string, bytes: number | undefined): Memory {
    let fd: number
    try {
      fd = openSync(path, bytes === undefined ? constants.O_RDWR : 'w+', 0o600)
    } catch (error) {
      throw sentence(path, error)
    }
    try {
      if (bytes !== undefined) ftruncateSync(fd, bytes)
      return mapShared(fd, fstatSync(fd).size)
    } finally {
      closeSync(fd)
    }
  }
}

/**
 * A device's number, or a file's place: what stays the same for as long as a bitmap on tmpfs lives.
 */
function diskIdentity(path: string): string {
  const { dev, ino, rdev, mode } = statSync(path)
  const isBlockDevice = (mode & constants.S_IFMT) === constants.S_IFBLK
  return isBlockDevice ? `block device ${rdev}` : `file ${dev}:${ino}`
}

function sentence(path: string, error: unknown): Error {
  return new Error(`bitmap ${path}: ${(error as Error).message}`, { cause: error })
}
