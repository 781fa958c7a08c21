/**
 * The disk of a pretended guest: an ext4 file system with files of random data, a sparse file, and
 * a database of numbered blocks that a VerifyingWriter may write while the file system stays clean,
 * because all of its blocks are allocated and in use already. Made without mounting, so without
 * root. Where e2fsprogs is missing there is no file system, only data and holes.
 */
import { randomFillSync } from 'node:crypto'
import { type FileHandle, mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { hasTool, mustRun } from './command.ts'
import { BLOCK_SIZE, fillBlock } from './numbered-block.ts'

export interface GuestImage {
  readonly path: string
  /** Bytes. */
  readonly size: number
  readonly hasFileSystem: boolean
  /** Blocks of the database. */
  readonly blockCount: number
  /** Where block `index` of the database is on the disk, in bytes. */
  readonly offsetOf: (index: number) => number
}

const MIB = 1024 * 1024
/** A smaller disk has no room for all of it. */
export const IMAGE_SIZE_MIN = 64 * MIB
const DATABASE_SIZE_MAX = 64 * MIB
/** Parts of the disk that are random data, and the apparent size of the sparse file. */
const DATA_PART = 0.4
const SPARSE_PART = 0.2

/** Makes `folder`/source.img of `size` bytes, rounded down to whole MiB. */
export async function createGuestImage(
  folder: string,
  size: number,
  signal: AbortSignal,
): Promise<GuestImage> {
  const path = join(folder, 'source.img')
  const wholeSize = size - (size % MIB)
  const databaseSize = Math.min(DATABASE_SIZE_MAX, wholeSize / 8 - ((wholeSize / 8) % MIB))
  const blockCount = databaseSize / BLOCK_SIZE
  const isPossible = (await hasTool('mke2fs')) && (await hasTool('debugfs'))
  const offsets = isPossible
    ? await makeFileSystem(path, wholeSize, blockCount, signal)
    : await makePattern(path, wholeSize, blockCount)
  const image = { path, size: wholeSize, hasFileSystem: isPossible, blockCount }
  return { ...image, offsetOf: index => offsets[index]! }
}

async function makeFileSystem(
  path: string,
  size: number,
  blockCount: number,
  signal: AbortSignal,
): Promise<Float64Array> {
  const content = `${path}.content`
  await mkdir(content)
  try {
    await writeDatabase(join(content, 'database'), 0, blockCount)
    await writeFiles(content, Math.floor(size * DATA_PART), signal)
    await writeSparse(join(content, 'sparse'), Math.floor(size * SPARSE_PART))
    await createSparse(path, size)
    const options = ['-q', '-F', '-t', 'ext4', '-b', String(BLOCK_SIZE), '-m', '0', '-d', content]
    await mustRun(['mke2fs', ...options, path, `${size / 1024}k`], signal)
  } finally {
    await rm(content, { recursive: true, force: true })
  }
  const blocks = await mustRun(['debugfs', '-R', 'blocks /database', path], signal)
  const offsets = Float64Array.from(blocks.trim().split(/\s+/), block => Number(block) * BLOCK_SIZE)
  if (offsets.length !== blockCount || offsets.some(offset => !(offset > 0 && offset < size))) {
    throw new Error(`debugfs found ${offsets.length} blocks of the database, not ${blockCount}`)
  }
  return offsets
}

/** Alternate pieces of data and holes, the database in the middle. */
async function makePattern(path: string, size: number, blockCount: number): Promise<Float64Array> {
  const piece = 4 * MIB
  const file = await open(path, 'w')
  try {
    await file.truncate(size)
    const data = randomFillSync(new Uint8Array(piece))
    for (let at = 0; at + piece <= size; at += 2 * piece) {
      data.set(randomFillSync(new Uint8Array(BLOCK_SIZE)))
      await file.write(data, 0, piece, at)
    }
  } finally {
    await file.close()
  }
  const start = size / 2 - ((size / 2) % BLOCK_SIZE)
  await writeDatabase(path, start, blockCount)
  return Float64Array.from({ length: blockCount }, (_, index) => start + index * BLOCK_SIZE)
}

/** The first content of every block: write 0, which no writer sends. */
async function writeDatabase(path: string, start: number, blockCount: number): Promise<void> {
  const batch = 256
  const file = await open(path, start === 0 ? 'w' : 'r+')
  try {
    const bytes = new Uint8Array(batch * BLOCK_SIZE)
    for (let index = 0; index < blockCount; index += batch) {
      for (let i = 0; i < batch; i++) {
        fillBlock(bytes.subarray(i * BLOCK_SIZE, (i + 1) * BLOCK_SIZE), index + i, 0)
      }
      await file.write(bytes, 0, bytes.length, start + index * BLOCK_SIZE)
    }
  } finally {
    await file.close()
  }
}

/**
 * Files of 16 KiB to 16 MiB in folders. Random data is dear, so a buffer of it is used again, with
 * a new beginning in every piece.
 */
async function writeFiles(folder: string, total: number, signal: AbortSignal): Promise<void> {
  const noise = randomFillSync(new Uint8Array(16 * MIB))
  let number = 0
  for (let left = total; left > 0; number++) {
    signal.throwIfAborted()
    const length = Math.min(left, 16 * 1024 * 2 ** (number % 11))
    const parent = join(folder, `folder-${number % 16}`)
    await mkdir(parent, { recursive: true })
    for (let at = 0; at < length; at += 64 * 1024) randomFillSync(noise, at, 64)
    const file = await open(join(parent, `file-${number}`), 'w')
    try {
      await file.write(noise, 0, length)
    } finally {
      await file.close()
    }
    left -= length
  }
}

async function writeSparse(path: string, size: number): Promise<void> {
  const file = await open(path, 'w')
  try {
    await file.truncate(size)
    for (let i = 0; i < 8; i++) await writeNoise(file, Math.floor((size / 8) * i))
  } finally {
    await file.close()
  }
}

/** An empty file of `size` bytes, all hole. */
export async function createSparse(path: string, size: number): Promise<void> {
  const file = await open(path, 'wx')
  try {
    await file.truncate(size)
  } finally {
    await file.close()
  }
}

async function writeNoise(file: FileHandle, at: number): Promise<void> {
  await file.write(randomFillSync(new Uint8Array(64 * 1024)), 0, 64 * 1024, at)
}
