/**
 * What the commands that talk to a running proxy share: the `--control` option, one connection per
 * command, and how long to wait for an answer.
 */
import { connectControl } from '../control/channel.ts'
import type { ControlClient } from '../control/client.ts'
import type { MirrorStatus } from '../control/status.ts'
import { CommandFailure, EXIT, type ExitCode } from './exit-codes.ts'
import { required, text } from './options.ts'
import type { Output } from './output.ts'
import { progressLine } from './progress.ts'

/** For verbs that are answered at once. */
export const ANSWER_MS_MAX = 15_000
/** What a wait of the proxy's may take longer than it was told, to say that it timed out. */
export const GRACE_MS = 5000

export const control = required(text('SOCK'), 'the control socket that serve was started with')

export async function withControl<T>(
  path: string,
  use: (client: ControlClient) => Promise<T>,
): Promise<T> {
  using client = await connectControl(path)
  return await use(client)
}

/** Prints a mirror's status as a command's result. */
export function printMirror(output: Output, status: MirrorStatus): ExitCode {
  output.result(status, progressLine(status))
  return EXIT.ok
}

/** Throws if the mirror has ended otherwise than `completed`. */
export function assertNotLost({ outcome, error }: MirrorStatus): void {
  if (outcome === 'cancelled') {
    throw new CommandFailure(EXIT.mirror, 'the mirror was cancelled: start it again to copy on')
  }
  if (outcome === 'failed') {
    const why = error ?? 'no reason given'
    throw new CommandFailure(EXIT.mirror, `the mirror failed: ${why}`)
  }
}
