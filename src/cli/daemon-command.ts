/**
 * What the commands that talk to the host's daemon share: one connection per command, how long to
 * wait for an answer, how ssh is reached, and how a session is named.
 */
import { ControlClient } from '../control/client.ts'
import type { DaemonVerbs, SshAccess } from '../daemon/messages.ts'
import type { SessionSummary } from '../daemon/session-status.ts'
import { daemonVerbs } from '../daemon/verbs.ts'
import { CommandFailure, EXIT } from './exit-codes.ts'
import { several, text } from './options.ts'
import { connectDaemon } from './start-daemon.ts'

export type DaemonClient = ControlClient<DaemonVerbs>

/** For verbs that are answered at once. */
export const ANSWER = { timeoutMs: 15_000 }
/** For those that ask the other host first. */
export const PEER_ANSWER = { timeoutMs: 60_000 }

export const sshOption = several(
  text('WORD'),
  'a word for the command line of ssh, as --ssh-option=-p --ssh-option=2222',
)

export async function openDaemon(): Promise<DaemonClient> {
  return new ControlClient<DaemonVerbs>(await connectDaemon(), daemonVerbs)
}

export async function withDaemon<T>(use: (client: DaemonClient) => Promise<T>): Promise<T> {
  using client = await openDaemon()
  return await use(client)
}

/**
 * What makes ssh, which the daemon runs, the caller's own: keys, agent, names. With it goes where
 * the daemon was found, for the relay that xl starts.
 */
const SSH_ENVIRONMENT = [
  'HOME',
  'USER',
  'LOGNAME',
  'PATH',
  'LANG',
  'LC_ALL',
  'SSH_AUTH_SOCK',
  'KRB5CCNAME',
  'XDG_RUNTIME_DIR',
  'BLKFERRY_SOCKET',
] as const

export function sshAccess(options: readonly string[]): SshAccess {
  const environment = Object.fromEntries(
    SSH_ENVIRONMENT.flatMap(name => {
      const value = process.env[name]
      return value === undefined || value.length > 4096 ? [] : [[name, value]]
    }),
  )
  return { environment, options }
}

/** The newest session of the guest of this name, or the one whose own name begins so. */
export async function findSession(client: DaemonClient, given: string): Promise<SessionSummary> {
  const { sessions } = await client.call('session-list', {}, ANSWER)
  const named = sessions.filter(one => one.session.startsWith(given))
  const exact = sessions.find(one => one.session === given)
  const found = exact ?? (named.length === 1 ? named[0] : undefined)
  const ofGuest = sessions.find(({ domain }) => domain === given)
  if (exact === undefined && ofGuest !== undefined) return ofGuest
  if (found !== undefined) return found
  if (named.length > 1) {
    const problem = `${named.length} sessions begin with ${given}`
    throw new CommandFailure(EXIT.usage, `${problem}: give more of the name`)
  }
  const remedy = 'see blkferry status for those there are'
  throw new CommandFailure(EXIT.failed, `there is no session ${given} on this host: ${remedy}`)
}
