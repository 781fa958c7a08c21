/** What a process has used, from /proc: processor time and memory. */
import { readFile } from 'node:fs/promises'

/** USER_HZ, which is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

/** Processor time of all threads so far, user and system, in seconds. */
export async function cpuSeconds(pid: number): Promise<number> {
  return parseCpuSeconds(await readFile(`/proc/${pid}/stat`, 'utf8'))
}

/** Pure: the text of /proc/PID/stat. The command's name may hold spaces and brackets itself. */
export function parseCpuSeconds(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

export interface MemoryUse {
  /** Pages in memory, bytes, shared ones in full. */
  readonly rss: number
  /** The same, but every shared page divided by the number of its users. */
  readonly pss: number
  /** The part of `rss` that is mappings of files on tmpfs and shared memory. */
  readonly shared: number
}

export async function memoryUse(pid: number): Promise<MemoryUse> {
  const [rollup, status] = await Promise.all([
    readFile(`/proc/${pid}/smaps_rollup`, 'utf8'),
    readFile(`/proc/${pid}/status`, 'utf8'),
  ])
  return parseMemoryUse(rollup, status)
}

/** Pure: the texts of /proc/PID/smaps_rollup and /proc/PID/status. */
export function parseMemoryUse(rollup: string, status: string): MemoryUse {
  return {
    rss: kibibytes(rollup, 'Rss'),
    pss: kibibytes(rollup, 'Pss'),
    shared: kibibytes(status, 'RssShmem'),
  }
}

function kibibytes(text: string, name: string): number {
  const found = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)
  if (found === null) throw new Error(`/proc says nothing of ${name}`)
  return Number(found[1]) * 1024
}
