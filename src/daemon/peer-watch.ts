/**
 * What the destination wants of the source, asked again and again for as long as a session lives.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ControlError } from '../control/control-error.ts'
import type { Peer } from './peer.ts'
import { messageOf } from './session-context.ts'

const WAIT_MS = 10_000
const ANSWER_MS_MAX = 20_000
const RETRY_MS = 1000

export interface PeerWatchOptions {
  readonly peer: Peer
  readonly session: string
  /** For how long the other host may be out of reach. */
  readonly patienceMs: number
  readonly seal: () => Promise<void>
  /** The session cannot go on. */
  readonly lost: (problem: string) => void
  /** No more questions. */
  readonly signal: AbortSignal
}

/** Settles when `signal` is aborted or the session is lost. */
export async function watchPeer(options: PeerWatchOptions): Promise<void> {
  const { patienceMs, lost, signal } = options
  let failingSince: number | undefined
  while (!signal.aborted) {
    try {
      if (await askOnce(options)) {
        lost('the destination has ended the session: see its log')
        return
      }
      failingSince = undefined
    } catch (error) {
      if (signal.aborted) return
      failingSince ??= performance.now()
      const isUnknown = error instanceof ControlError && error.remoteCode === 'no-session'
      if (isUnknown || performance.now() - failingSince > patienceMs) {
        lost(messageOf(error))
        return
      }
      await sleep(RETRY_MS)
    }
  }
}

/** True if the session is over there. */
async function askOnce({ peer, session, seal, signal }: PeerWatchOptions): Promise<boolean> {
  const wait = { session, timeoutMs: WAIT_MS }
  const timeoutMs = WAIT_MS + ANSWER_MS_MAX
  const { want, isOver } = await peer.call('peer-wait', wait, { timeoutMs })
  if (want === 'seal' && !signal.aborted) {
    const error = await seal().then(() => null, messageOf)
    await peer.call('peer-sealed', { session, error }, { timeoutMs: ANSWER_MS_MAX })
  }
  return isOver
}
