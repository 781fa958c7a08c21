/**
 * The daemon of a dom0: the journal, the sessions and the control socket. It is never in the path
 * of a guest's I/O, and may be stopped and started at any time: sessions under way come to their
 * end in the next one.
 */
import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Logger } from 'pino'
import { listenVerbs } from '../control/channel.ts'
import { openJournal } from '../migration/journal-file.ts'
import { doctorOf } from './doctor.ts'
import { daemonHandlers } from './handlers.ts'
import type { Host } from './host.ts'
import { HostJournal } from './host-journal.ts'
import { Hotplug } from './hotplug.ts'
import { recover } from './recover.ts'
import type { SessionContext } from './session-context.ts'
import { SessionRecords } from './session-record.ts'
import { Sessions } from './sessions.ts'
import { daemonVerbs } from './verbs.ts'

export interface DaemonOptions {
  readonly socket: string
  /** The journal, and what is kept of sessions; survives a reboot. */
  readonly stateFolder: string
  readonly host: Host
  readonly log: Logger
  /** A socket that listens already, as systemd hands one over. */
  readonly inheritedFd?: number | undefined
}

export interface RunningDaemon {
  /**
   * Takes no more requests. Sessions that are over are put away first; what the others have started
   * goes on without it.
   */
  stop(): Promise<void>
}

export const STATE_FOLDER = '/var/lib/blkferry'
export const RUN_FOLDER = '/run/blkferry'

/** Settles once it listens. Rejects with JournalError, or `ControlError` refused. */
export async function runDaemon(options: DaemonOptions): Promise<RunningDaemon> {
  const { socket, stateFolder, host, log, inheritedFd } = options
  mkdirSync(host.runFolder, { recursive: true, mode: 0o700 })
  mkdirSync(dirname(socket), { recursive: true, mode: 0o700 })
  const journal = new HostJournal(() => openJournal(stateFolder))
  try {
    const records = new SessionRecords(join(stateFolder, 'sessions'))
    const context: SessionContext = { host, journal, records, log }
    const sessions = new Sessions(context)
    const hotplug = new Hotplug(host, journal, sessions, log)
    await recover(context, sessions)
    const doctor = doctorOf(context, sessions)
    const handlers = daemonHandlers({ context, sessions, hotplug, doctor })
    const table = daemonVerbs
    const server = await listenVerbs(socket, { table, handlers, log, inheritedFd })
    log.info({ socket, host: host.name }, 'daemon listens')
    return {
      stop: async () => {
        await server.close()
        await sessions.tidied()
        journal.close()
      },
    }
  } catch (error) {
    journal.close()
    throw error
  }
}
