/**
 * What a daemon does first: it looks for what another one has left, after a crash or a reboot, and
 * brings it to an end. Whatever has a record becomes a session again that only ends; whatever has
 * none never got far.
 */
import type { Leftover } from '../chain/leftovers.ts'
import { settlesWithin } from '../chain/pause.ts'
import { DestinationSession } from './destination-session.ts'
import { RecoveredSession } from './recovered-session.ts'
import { messageOf, type SessionContext, untilDone } from './session-context.ts'
import type { SessionRecord } from './session-record.ts'
import type { Sessions } from './sessions.ts'
import { settleAll } from './turns.ts'

/** Longest that the daemon's start waits for devices without a session (ms). */
const RESTORE_MS_MAX = 3000

/** Settles when all sessions are known; they come to their end by themselves. */
export async function recover(context: SessionContext, sessions: Sessions): Promise<void> {
  const { log, records } = context
  const found = records.all(log)
  for (const record of found) {
    const { session, side, domain } = record
    log.warn({ session, side, domain }, 'session was left unfinished')
    if (side === 'source') {
      const peer = sessions.peer({ host: record.peer, ssh: record.ssh })
      sessions.add(new RecoveredSession(context, record, peer))
    } else {
      sessions.add(DestinationSession.recover(context, record, await placesOf(context, record)))
    }
  }
  settleJournal(context, new Set(found.map(({ session }) => session)))
  // A kernel that does not answer now is asked again, and holds nobody up.
  await settlesWithin(restoreAll(context, sessions), RESTORE_MS_MAX)
}

/** Devices of sessions that have no record. Those of sessions that are known are their own care. */
function restoreAll(context: SessionContext, sessions: Sessions): Promise<void> {
  const { host, log } = context
  return untilDone(log, async () => {
    const found = await host.findLeftovers(log)
    const left = found.filter(({ session }) => !sessions.knows(session))
    await settleAll(left.map(one => restore(context, one)))
    return true
  })
}

/** Where the disks are; one that has vanished cannot be in use. */
function placesOf({ host }: SessionContext, { disks }: SessionRecord): Promise<string[]> {
  return Promise.all(
    disks.map(({ disk }) =>
      host.devices.place(disk).then(
        ({ path }) => path,
        () => '',
      ),
    ),
  )
}

async function restore(context: SessionContext, left: Leftover): Promise<void> {
  const { journal, host, log } = context
  const isGone = [...journal.disks.values()].some(
    ({ role, session }) => role === 'given-away' && session === left.session,
  )
  await host.cleanUp(left, isGone ? 'discard' : 'restore', log)
  log.warn({ ...left, isGone }, 'device was left without a session')
}

/** Roles in the middle of a session that has no record: it never gave anything away. */
function settleJournal({ journal, log }: SessionContext, known: ReadonlySet<string>): void {
  for (const [disk, { role, session }] of journal.disks) {
    if (session === undefined || known.has(session)) continue
    const verb = { incoming: 'refuse', sealed: 'unseal', owner: 'settle' } as const
    if (role !== 'incoming' && role !== 'sealed' && role !== 'owner') continue
    try {
      journal.apply(verb[role], [{ disk, session }])
      log.warn({ disk, role, session }, 'role was left unfinished')
    } catch (error) {
      log.error({ disk, role, problem: messageOf(error) }, 'role stays unfinished')
    }
  }
}
