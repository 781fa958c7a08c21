/**
 * Starts a process that serves a block device of this very host. Where memory is short the kernel
 * may write to that device to get some, so the process must neither wait for such writes when it
 * asks for memory (PR_SET_IO_FLUSHER) nor be chosen to be killed (oom_score_adj). Both are handed
 * down from a parent, so there is no launcher: the flag is ours for the instant of the fork.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { native } from '../io/libc.ts'

const libcPrctl = native<(option: number, a: number, b: number, c: number, d: number) => number>(
  'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
)

const PR_SET_IO_FLUSHER = 57
/** Never chosen by the kernel's out-of-memory killer. */
const OOM_SCORE_NEVER = '-1000'

/**
 * As `spawn`. `isProtected` says whether the kernel granted both; it takes root, or at least
 * CAP_SYS_RESOURCE.
 */
export function spawnIoProcess(
  [program, ...words]: readonly [string, ...string[]],
  options: SpawnOptions,
): { readonly child: ChildProcess; readonly isProtected: boolean } {
  const isFlusher = libcPrctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) === 0
  let child: ChildProcess
  try {
    child = spawn(program, words, options)
  } finally {
    if (isFlusher) libcPrctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0)
  }
  return { child, isProtected: spareFromOom(child.pid) && isFlusher }
}

function spareFromOom(pid: number | undefined): boolean {
  if (pid === undefined) return false
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, OOM_SCORE_NEVER)
    return true
  } catch {
    // Not permitted, or the process has ended already, which its exit tells.
    return false
  }
}
