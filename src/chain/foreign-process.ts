/**
 * Proxies that a former daemon has started: they are not our children, so their end is looked for
 * instead of told. They are known by their command line, which names the control socket, and that
 * is this disk's alone.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { DiskPathError } from './disk-path.ts'
import { pause } from './pause.ts'

const END_MS_MAX = 10_000
const POLL_MS = 10

/** Kills all whose command line has `word`; settles when they have ended. */
export async function endForeign(word: string): Promise<void> {
  const deadline = performance.now() + END_MS_MAX
  for (;;) {
    const pids = processesWith(word)
    if (pids.length === 0) return
    if (performance.now() >= deadline) {
      const problem = `process ${pids.join(', ')} does not end; look at the disk below it`
      throw new DiskPathError('proxy', problem)
    }
    for (const pid of pids) killIfThere(pid)
    await pause(POLL_MS)
  }
}

/** Never ourselves. One that has ended and is not waited for yet has an empty command line. */
export function processesWith(word: string): number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter(name => wordsOf(name).includes(word))
    .map(Number)
}

function wordsOf(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    // Gone meanwhile.
    return []
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
