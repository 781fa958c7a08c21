/** What a process does, as the kernel tells (proc(5), `stat`). */
import { readdirSync, readFileSync } from 'node:fs'

export interface ProcessWork {
  /** One of its threads wants a processor, or waits for a disk: what it owes is late, not lost. */
  readonly isBusy: boolean
  /** By a signal, all of it; nothing but another one makes it go on. */
  readonly isStopped: boolean
  /** Processor time of all its threads since it began (ms). */
  readonly computedMs: number
}

/** The kernel counts in hundredths of a second, whatever its own clock is. */
const TICK_MS = 10

/** A process that is gone does nothing. */
export function workOf(pid: number | undefined): ProcessWork {
  try {
    const [, utime = 0, stime = 0] = statOf(`/proc/${pid}/stat`)
    const threads = readdirSync(`/proc/${pid}/task`)
    const states = threads.map(thread => statOf(`/proc/${pid}/task/${thread}/stat`)[0])
    const isBusy = states.some(state => state === 'R' || state === 'D')
    const isStopped = states.every(state => state === 'T')
    return { isBusy, isStopped, computedMs: (utime + stime) * TICK_MS }
  } catch {
    return { isBusy: false, isStopped: false, computedMs: 0 }
  }
}

function statOf(path: string): [state: string, utime: number, stime: number] {
  const stat = readFileSync(path, 'utf8')
  // The name before it, in parentheses, may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return [fields[0] ?? '', Number(fields[11]), Number(fields[12])]
}
