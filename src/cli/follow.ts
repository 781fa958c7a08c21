/**
 * Watches a mirror by asking for its status again and again, and prints it: on a terminal one line
 * that is redrawn, with `--json` every status, otherwise a line when the state changes and now and
 * then.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlClient } from '../control/client.ts'
import type { MirrorStatus } from '../control/status.ts'
import { ANSWER_MS_MAX } from './control-command.ts'
import { CommandFailure, EXIT } from './exit-codes.ts'
import type { Output } from './output.ts'
import { progressLine } from './progress.ts'
import { formatDuration } from './units.ts'

const POLL_MS = 500
const JSON_EVERY_MS = 1000
const LINE_EVERY_MS = 5000

/** Settles with the first status that `isEnd`, printed; throws a `CommandFailure` timeout. */
export async function followMirror(
  client: ControlClient,
  output: Output,
  limits: { readonly isEnd: (status: MirrorStatus) => boolean; readonly timeoutMs: number },
): Promise<MirrorStatus> {
  const everyMs = output.isRedrawn ? 0 : output.isJson ? JSON_EVERY_MS : LINE_EVERY_MS
  const started = performance.now()
  let printed = Number.NEGATIVE_INFINITY
  let state: MirrorStatus['state'] | undefined
  for (;;) {
    const status = await client.call('mirror-status', {}, { timeoutMs: ANSWER_MS_MAX })
    const now = performance.now()
    if (limits.isEnd(status)) {
      output.result(status, progressLine(status))
      return status
    }
    if (status.state !== state || now - printed >= everyMs) {
      output.update(status, progressLine(status))
      printed = now
      state = status.state
    }
    const leftMs = limits.timeoutMs - (now - started)
    if (leftMs <= 0) {
      const after = formatDuration(limits.timeoutMs)
      throw new CommandFailure(
        EXIT.timeout,
        `the mirror is still ${status.state} after ${after}: it goes on, wait again or cancel it`,
      )
    }
    await sleep(Math.min(POLL_MS, leftMs))
  }
}
