/**
 * Processes that outlive a daemon, known by their number, their start and the boot they belong to,
 * so that a number which has been given to another process is never killed.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

export interface ProcessMark {
  readonly pid: number
  /** In ticks since the boot. */
  readonly start: string
  readonly boot: string
}

const POLL_MS = 20
/** A process that the kernel holds may stay longer; then nothing may be decided. */
export const KILL_MS_MAX = 20_000

const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()

/** Undefined if there is no such process, or it has ended and is only to be waited for. */
export function markOf(pid: number): ProcessMark | undefined {
  const start = startOf(pid)
  return start === undefined ? undefined : { pid, start, boot: bootId() }
}

export function isAlive({ pid, start, boot }: ProcessMark): boolean {
  return startOf(pid) === start && boot === bootId()
}

/**
 * Waits `graceMs` for it to end by itself, kills it, and waits for its end. Throws if it does not
 * end: then it may still act.
 */
export async function endProcess(mark: ProcessMark, graceMs = 0): Promise<void> {
  if (await hasEnded(mark, graceMs)) return
  try {
    process.kill(mark.pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
  if (await hasEnded(mark, KILL_MS_MAX)) return
  throw new Error(`process ${mark.pid} does not die: look at what holds it (ps, dmesg)`)
}

async function hasEnded(mark: ProcessMark, timeoutMs: number): Promise<boolean> {
  for (let waited = 0; ; waited += POLL_MS) {
    if (!isAlive(mark)) return true
    if (waited >= timeoutMs) return false
    await sleep(POLL_MS)
  }
}

function startOf(pid: number): string | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined
  }
  // The name in the second field may hold anything, even a bracket.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [state] = fields
  return state === 'Z' || state === 'X' ? undefined : fields[19]
}
