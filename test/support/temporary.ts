/**
 * A folder for the time of one test, removed with everything in it: `await using folder = await
 * temporary()`.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Temporary extends AsyncDisposable {
  /** Absolute path of the folder. */
  readonly path: string
  /** Absolute path of `name` in it. */
  file(name: string): string
}

/** `parent`: another place than the system's temporary folder, for example a tmpfs. */
export async function temporary(parent = tmpdir()): Promise<Temporary> {
  const path = await mkdtemp(join(parent, 'blkferry-'))
  return {
    path,
    file: name => join(path, name),
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  }
}
