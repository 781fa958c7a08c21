/**
 * What must be true after a migration, checked without the mirror's help: the disks compared byte
 * by byte, and the file systems by their own checker.
 */
import { open } from 'node:fs/promises'
import type { NbdClient } from 'nbd-client-ts'
import { runTool } from './command.ts'
import { BLOCK_SIZE } from './numbered-block.ts'

const PIECE_SIZE = 1024 * 1024
const READERS = 4

export interface Comparison {
  /** Bytes that were compared, all of the source's. */
  readonly size: number
  /** Blocks that differ although nobody wrote them after the switchover, by offset in bytes. */
  readonly wrong: readonly number[]
  /** Blocks that differ, and may. */
  readonly changed: number
}

/**
 * Compares the source, a file, with the target. `written`: offsets of the blocks that were written
 * at the destination since; their content is for the writer to check.
 */
export async function compareDisks(
  sourcePath: string,
  target: NbdClient,
  written: ReadonlySet<number>,
): Promise<Comparison> {
  const file = await open(sourcePath, 'r')
  try {
    const { size } = await file.stat()
    const wrong: number[] = []
    let changed = 0
    let next = 0
    const reader = async (): Promise<void> => {
      const buffer = new Uint8Array(PIECE_SIZE)
      while (next < size) {
        const at = next
        next += PIECE_SIZE
        const length = Math.min(PIECE_SIZE, size - at)
        const [there] = await Promise.all([
          target.read(at, length),
          file.read(buffer, 0, length, at),
        ])
        const here = buffer.subarray(0, length)
        if (Buffer.compare(here, there) === 0) continue
        for (let from = 0; from < length; from += BLOCK_SIZE) {
          const to = from + BLOCK_SIZE
          if (Buffer.compare(here.subarray(from, to), there.subarray(from, to)) === 0) continue
          if (written.has(at + from)) changed++
          else wrong.push(at + from)
        }
      }
    }
    await Promise.all(Array.from({ length: READERS }, reader))
    return { size, wrong: wrong.sort((a, b) => a - b), changed }
  } finally {
    await file.close()
  }
}

/**
 * What e2fsck says against the file system in the image; undefined if it is clean. Changes nothing.
 */
export async function fileSystemFault(path: string): Promise<string | undefined> {
  const { code, stdout, stderr } = await runTool(['e2fsck', '-fn', path])
  return code === 0 ? undefined : `e2fsck ended with ${code}: ${stdout}${stderr}`.trim()
}
