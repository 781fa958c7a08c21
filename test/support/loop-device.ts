/** A loop device over a file, for the time of one test. Root only. */
import { execFileSync } from 'node:child_process'

export interface LoopDevice extends AsyncDisposable {
  readonly path: string
}

/**
 * Read-only by losetup's own option, which the next attach undoes: a flag set by blockdev would
 * stay with the number and meet whoever gets it next.
 */
export function attachLoop(file: string, sectorSize: number, readOnly = false): LoopDevice {
  const options = ['--find', '--show', '--sector-size', String(sectorSize), file]
  if (readOnly) options.unshift('--read-only')
  const path = execFileSync('losetup', options, { encoding: 'utf8' }).trim()
  const dispose = async (): Promise<void> => {
    execFileSync('losetup', ['--detach', path])
  }
  return { path, [Symbol.asyncDispose]: dispose }
}
