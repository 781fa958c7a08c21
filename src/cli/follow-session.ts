/**
 * Watches a session by asking for its status again and again, and prints it: on a terminal one line
 * that is redrawn, with `--json` every status, otherwise a line when the phase changes and now and
 * then. A daemon that was restarted meanwhile is found again.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { ControlError } from '../control/control-error.ts'
import type { SessionStatus } from '../daemon/session-status.ts'
import { ANSWER, type DaemonClient, openDaemon } from './daemon-command.ts'
import type { Output } from './output.ts'
import { sessionLine } from './session-progress.ts'

const POLL_MS = 500
const JSON_EVERY_MS = 1000
const LINE_EVERY_MS = 5000
/** Of a daemon that has died; systemd, or the connection, starts it again. */
const RECONNECT_MS_MAX = 60_000

/** One session on one daemon, over as many connections as it takes. */
export class FollowedSession {
  readonly session: string
  #client: DaemonClient
  #reconnected = false

  constructor(client: DaemonClient, session: string) {
    this.#client = client
    this.session = session
  }

  get client(): DaemonClient {
    return this.#client
  }

  /** The daemon that the session was started with is not the one that answers now. */
  get isReconnected(): boolean {
    return this.#reconnected
  }

  /** Rejects with `ControlError` if the daemon does not come back, or knows nothing of it. */
  async status(): Promise<SessionStatus> {
    const deadline = performance.now() + RECONNECT_MS_MAX
    for (;;) {
      try {
        return await this.#client.call('session-status', { session: this.session }, ANSWER)
      } catch (error) {
        const isGone = error instanceof ControlError && error.code === 'closed'
        if (!isGone || performance.now() > deadline) throw error
        this.#reconnected = true
        await sleep(POLL_MS)
        this.#client = await openDaemon().catch(() => this.#client)
      }
    }
  }

  close(): void {
    this.#client.close()
  }
}

/** Whether nothing will change any more: nobody acts on an outcome that nobody knows. */
export function isOver({ phase, isCleaningUp }: SessionStatus): boolean {
  const isFinal = phase === 'completed' || phase === 'cancelled' || phase === 'failed'
  return isFinal && !isCleaningUp
}

/** Settles with the first status that `isEnd`, which is not printed. */
export async function followSession(
  followed: FollowedSession,
  output: Output,
  isEnd: (status: SessionStatus) => boolean,
): Promise<SessionStatus> {
  const everyMs = output.isRedrawn ? 0 : output.isJson ? JSON_EVERY_MS : LINE_EVERY_MS
  let printed = Number.NEGATIVE_INFINITY
  let seen = ''
  for (;;) {
    const status = await followed.status()
    if (isEnd(status)) return status
    const now = performance.now()
    const state = `${status.phase} ${status.memory.state} ${status.error}`
    if (state !== seen || now - printed >= everyMs) {
      output.update(status, sessionLine(status))
      printed = now
      seen = state
    }
    await sleep(POLL_MS)
  }
}
