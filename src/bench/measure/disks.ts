/** Disk images: full of random data, half of it, or empty; and what must be true of copies. */
import { randomFillSync } from 'node:crypto'
import { open, truncate } from 'node:fs/promises'
import type { Cleanup } from '../cleanup.ts'
import { mustRun, runTool } from './tool.ts'

const PIECE = 2 ** 20

/** `half`: a MiB of data, a MiB of hole, and so on. */
export type Filling = 'full' | 'half' | 'zero'

/** A file of `size` bytes. The data of every MiB is different from that of its neighbours. */
export async function makeDisk(path: string, size: number, filling: Filling): Promise<string> {
  await (await open(path, 'w')).close()
  await truncate(path, size)
  if (filling !== 'zero') await fillDisk(path, size, filling === 'full' ? PIECE : 2 * PIECE)
  return path
}

/** New random data in every MiB, or one MiB every `step` bytes, also under a server. */
export async function fillDisk(path: string, size: number, step = PIECE): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const data = randomFillSync(Buffer.allocUnsafe(PIECE))
    for (let at = 0; at < size; at += step) {
      data.writeBigUInt64LE(BigInt(at), 0)
      await file.write(data, 0, Math.min(PIECE, size - at), at)
    }
  } finally {
    await file.close()
  }
}

/** All of it a hole again, also under a server that has it open. */
export async function emptyDisk(path: string, size: number): Promise<void> {
  await truncate(path, 0)
  await truncate(path, size)
}

/** Throws unless both files hold the same: a copy that is not one has no speed. */
export async function mustBeEqual(a: string, b: string, who: string): Promise<void> {
  const { code, stdout, stderr } = await runTool(['cmp', a, b])
  if (code !== 0) throw new Error(`the copy of ${who} is wrong: ${(stdout || stderr).trim()}`)
}

/** A block device over `path`; needs root. Freed by `scope`. */
export async function attachLoop(path: string, scope: Cleanup): Promise<string> {
  const argv = ['losetup', '--find', '--show', '--direct-io=on', path]
  const device = (await mustRun(argv)).trim()
  scope.defer(async () => {
    await mustRun(['losetup', '--detach', device])
  })
  return device
}
