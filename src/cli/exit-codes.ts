/**
 * What the exit code of a command says, in one table that `--help`, the reference and the code
 * share. Scripts depend on the numbers: they are never reused and never change.
 */
import { ControlError, type RemoteCode } from '../control/control-error.ts'

export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  disk: 3,
  target: 4,
  mirror: 5,
  difference: 6,
  control: 7,
  timeout: 8,
  undefined: 9,
  stopped: 10,
} as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'done',
  failed: 'the operation failed',
  usage: 'the command line is wrong',
  disk: 'the disk cannot be opened or served (missing, in use, no permission, address taken)',
  target: 'the target refused or cannot be reached',
  mirror: 'the mirror or the migration failed or was cancelled; the guest goes on at the source',
  difference: 'verify found a difference between the disks',
  control: 'the control socket does not answer, or speaks another version',
  timeout: 'it took longer than was allowed',
  undefined: 'it is not known yet which host has the guest: see blkferry resolve',
  stopped: 'the other host owns the disks, but the guest does not run: start it there',
}

const REMOTE: Readonly<Record<RemoteCode, ExitCode>> = {
  malformed: EXIT.control,
  version: EXIT.control,
  'unknown-verb': EXIT.control,
  busy: EXIT.failed,
  invalid: EXIT.usage,
  'no-mirror': EXIT.failed,
  'mirror-exists': EXIT.failed,
  'wrong-state': EXIT.failed,
  'target-refused': EXIT.target,
  'target-unreachable': EXIT.target,
  'mirror-failed': EXIT.mirror,
  'mirror-cancelled': EXIT.mirror,
  'verify-difference': EXIT.difference,
  'no-session': EXIT.failed,
  refused: EXIT.failed,
  unreachable: EXIT.target,
  timeout: EXIT.timeout,
  internal: EXIT.failed,
}

/** The command line is wrong; the message is one sentence that says how. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** A command ended otherwise than asked, with its exit code and one sentence. */
export class CommandFailure extends Error {
  override readonly name = 'CommandFailure'
  readonly exitCode: ExitCode

  constructor(exitCode: ExitCode, message: string, cause?: unknown) {
    super(message, { cause })
    this.exitCode = exitCode
  }
}

/** The exit code for whatever a command threw. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof UsageError) return EXIT.usage
  if (error instanceof CommandFailure) return error.exitCode
  if (!(error instanceof ControlError)) return EXIT.failed
  if (error.remoteCode !== undefined) return REMOTE[error.remoteCode]
  return error.code === 'timeout' ? EXIT.timeout : EXIT.control
}

/** The word for an exit code, as `--json` errors carry it. */
export function exitWord(exitCode: ExitCode): string {
  return Object.entries(EXIT).find(([, code]) => code === exitCode)?.[0] ?? 'failed'
}
