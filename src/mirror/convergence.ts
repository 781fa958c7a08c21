/**
 * Which copy mode to use, and when a switchover would be short: a pure function from measurements.
 *
 * Background mode spares the guest the network, so `auto` begins with it and stays as long as
 * passes shrink what is left. Write-blocking mode cannot lose against any writer, since writes make
 * nothing dirty there; so every migration converges. When the target keeps the guest waiting the
 * background rule is in force at once; the way back is open after a pause which doubles with each
 * stall in a row.
 */
export const COPY_MODES = ['background', 'write-blocking'] as const
export type CopyMode = (typeof COPY_MODES)[number]
export type CopyModeChoice = 'auto' | CopyMode

export interface ConvergenceLimits {
  /** `auto` goes write-blocking when what is left takes no longer than this to copy, */
  readonly syncSeconds: number
  /** or is no more than this, */
  readonly syncBytes: number
  /** or after this many passes in any case. */
  readonly passesMax: number
  /** Background mode is ready when what is left takes no longer than this to copy, */
  readonly readySeconds: number
  /** or is no more than this. */
  readonly readyBytes: number
  /** The pause after a first stall, and the longest one. */
  readonly stallPauseMs: number
  readonly stallPauseMsMax: number
}

export const CONVERGENCE_LIMITS: ConvergenceLimits = {
  syncSeconds: 1,
  syncBytes: 8 * 1024 * 1024,
  passesMax: 5,
  readySeconds: 0.1,
  readyBytes: 1024 * 1024,
  stallPauseMs: 500,
  stallPauseMsMax: 30_000,
}

/** How many times over a limit what is left has to grow for a job to cease to be ready. */
const READY_SLACK = 4

export interface Measurements {
  readonly choice: CopyModeChoice
  /** The mode in force. */
  readonly mode: CopyMode
  /** What was decided last; it takes more to cease to be ready than to become it. */
  readonly isReady: boolean
  /** Bytes of chunks dirty or being copied. */
  readonly remainingBytes: number
  /** Nothing remains and no background write is in flight. */
  readonly isSynced: boolean
  /**
   * Bytes that the copier makes clean, and guest writes make dirty, in a second; 0 when not
   * measured.
   */
  readonly copyRate: number
  readonly dirtyRate: number
  /** From 1. */
  readonly pass: number
  /** A request still waits for the target beyond its budget, or the target has failed just now. */
  readonly isTargetLate: boolean
  /** Stalls one soon after the other, and the time since the last. */
  readonly stallsInARow: number
  readonly sinceStallMs: number
}

export type Decision = 'continue' | 'background' | 'write-blocking' | 'ready'

/**
 * `ready` may be returned again and again; `continue` says that nothing is to change, and that the
 * job is not ready.
 */
export function decide(
  now: Measurements,
  limits: ConvergenceLimits = CONVERGENCE_LIMITS,
): Decision {
  if (now.mode === 'write-blocking') {
    if (now.choice === 'background') return 'background'
    return now.isSynced ? 'ready' : 'continue'
  }
  if (now.choice === 'background') return isReadyInBackground(now, limits) ? 'ready' : 'continue'
  if (mayBlock(now, limits)) return shouldBlock(now, limits) ? 'write-blocking' : 'continue'
  // A target that fails now and then keeps the pauses coming. That must not put a switchover off
  // for ever: it copies what is left with the clients held, and says so if it cannot.
  return !now.isTargetLate && isReadyInBackground(now, limits) ? 'ready' : 'continue'
}

/** The pause after so many stalls in a row (milliseconds). */
export function stallPauseMs(stallsInARow: number, limits: ConvergenceLimits): number {
  if (stallsInARow === 0) return 0
  return Math.min(limits.stallPauseMsMax, limits.stallPauseMs * 2 ** (stallsInARow - 1))
}

function isReadyInBackground(now: Measurements, limits: ConvergenceLimits): boolean {
  const remainingBytes = now.isReady ? now.remainingBytes / READY_SLACK : now.remainingBytes
  return remainingBytes <= limits.readyBytes || remainingBytes <= now.copyRate * limits.readySeconds
}

function mayBlock(now: Measurements, limits: ConvergenceLimits): boolean {
  return !now.isTargetLate && now.sinceStallMs >= stallPauseMs(now.stallsInARow, limits)
}

function shouldBlock(now: Measurements, limits: ConvergenceLimits): boolean {
  if (now.choice === 'write-blocking') return true
  const { remainingBytes, copyRate, dirtyRate, pass } = now
  if (remainingBytes <= limits.syncBytes || remainingBytes <= copyRate * limits.syncSeconds)
    return true
  if (pass === 1) return false
  // A pass that leaves more than half of what it found is the last one worth waiting for.
  return pass > limits.passesMax || (copyRate > 0 && dirtyRate > copyRate / 2)
}
