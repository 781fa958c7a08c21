/** A loop device over a file, for the time of one test. Root only. */
import { execFileSync } from 'node:child_process'

export interface LoopDevice extends AsyncDisposable {
  readonly path: string
}

export function attachLoop(file: string, sectorSize: number): LoopDevice {
  const options = ['--find', '--show', '--sector-size', String(sectorSize), file]
  const path = execFileSync('losetup', options, { encoding: 'utf8' }).trim()
  const dispose = async (): Promise<void> => {
    execFileSync('losetup', ['--detach', path])
  }
  return { path, [Symbol.asyncDispose]: dispose }
}
