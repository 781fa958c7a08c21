/**
 * All sessions of this host, those that have ended for a while too, so that one can ask what became
 * of them.
 */
import { ControlError } from '../control/control-error.ts'
import { DestinationSession } from './destination-session.ts'
import { watchGuest } from './guest-watch.ts'
import type { GuestDevice } from './host.ts'
import type { HotplugSessions } from './hotplug.ts'
import { placesFor } from './incoming-disk.ts'
import type { MigrateStartParams, Prepared, PrepareParams } from './messages.ts'
import { Peer } from './peer.ts'
import { checkFree, claimUnknown, findGuest, withTargets } from './preflight.ts'
import type { RecoveredSession } from './recovered-session.ts'
import { refuse, type SessionContext } from './session-context.ts'
import type { SessionStatus, SessionSummary } from './session-status.ts'
import { SourceSession } from './source-session.ts'
import { Turns } from './turns.ts'

/** Sessions at one time. */
export const SESSIONS_MAX = 16
/** Ended ones that are remembered. */
const ENDED_MAX = 32
/** The last clean-up of sessions that are over: ssh's end, keys, records. */
const LAST_CLEAN_UP_MS_MAX = 10_000
/** A guest that is destroyed is not waited for longer by libxl's script. */
const LEAVE_MS_MAX = 25_000

export type OutgoingSession = SourceSession | RecoveredSession
type AnySession = OutgoingSession | DestinationSession

export class Sessions implements HotplugSessions {
  readonly #context: SessionContext
  readonly #all = new Map<string, AnySession>()
  readonly #turns = new Turns()

  constructor(context: SessionContext) {
    this.#context = context
  }

  get underWay(): number {
    return [...this.#all.values()].filter(({ isOver }) => !isOver).length
  }

  add(session: AnySession): void {
    this.#all.set(session.session, session)
    const ended = [...this.#all.values()].filter(({ isOver }) => isOver)
    for (const one of ended.slice(0, -ENDED_MAX)) this.#all.delete(one.session)
  }

  /**
   * Throws `ControlError` with what is in the way; otherwise the session has begun. It is cancelled
   * if its caller goes away, `signal`, while it still can be.
   */
  start(params: MigrateStartParams, signal: AbortSignal): Promise<SessionStatus> {
    return this.#turns.take('', async () => {
      this.#checkRoom()
      const peer = this.peer(params)
      const found = await findGuest(this.#context, params.domain)
      const guest = withTargets(found, params.targets ?? [])
      checkFree(guest, this.#all.values())
      if (signal.aborted) throw refuse('the command that wanted it has ended')
      claimUnknown(this.#context, guest)
      const session = new SourceSession(this.#context, params, guest, peer)
      this.add(session)
      const gone = (): void => session.abort('the command that wanted it has ended')
      signal.addEventListener('abort', gone, { once: true })
      void session.finished.then(() => signal.removeEventListener('abort', gone))
      if (guest.disks.some(({ isPrepared }) => !isPrepared)) {
        watchGuest(this.#context, guest.domid, session)
      }
      return session.status()
    })
  }

  peer({ host, ssh }: Pick<MigrateStartParams, 'host' | 'ssh'>): Peer {
    const { runFolder, remoteCommand } = this.#context.host
    return new Peer(host, { ssh, controlFolder: runFolder, remoteCommand })
  }

  /** The other host's daemon wants to send a guest here. */
  prepare(params: PrepareParams): Promise<Prepared> {
    return this.#turns.take('', async () => {
      this.#checkRoom()
      const { session, domain } = params
      if (this.#all.has(session)) throw refuse(`session ${session} is known here already`)
      const { toolstack } = this.#context.host
      for (const name of [domain, `${domain}--incoming`]) {
        if ((await toolstack.find(name)) === undefined) continue
        throw refuse(`there is a domain ${name} at the destination already: rename or remove it`)
      }
      const disks = params.disks.map(one => ({ ...one, device: '', isPrepared: true }))
      checkFree({ domid: 0, domain, disks }, this.#all.values())
      const places = await placesFor(this.#context, params.disks)
      const begun = new DestinationSession(this.#context, params, places)
      this.add(begun)
      return await begun.start()
    })
  }

  #checkRoom(): void {
    if (this.underWay < SESSIONS_MAX) return
    throw ControlError.refuse('busy', `there are ${SESSIONS_MAX} sessions already: wait for one`)
  }

  knows(session: string): boolean {
    return this.#all.has(session)
  }

  /** Throws `ControlError` no-session. */
  find(session: string): AnySession {
    const found = this.#all.get(session)
    if (found !== undefined) return found
    throw ControlError.refuse('no-session', `there is no session ${session} on this host`)
  }

  /** Throws `ControlError`. */
  source(session: string): OutgoingSession {
    const found = this.find(session)
    if (!(found instanceof DestinationSession)) return found
    throw ControlError.refuse('wrong-state', `session ${session} is to be asked at its source`)
  }

  /** Throws `ControlError`. */
  destination(session: string): DestinationSession {
    const found = this.find(session)
    if (found instanceof DestinationSession) return found
    throw ControlError.refuse('wrong-state', `session ${session} comes from this host`)
  }

  isInvolved(disk: string): boolean {
    return [...this.#all.values()].some(one => !one.isOver && one.has(disk))
  }

  list(): readonly SessionSummary[] {
    const all = [...this.#all.values()].reverse().map(one => one.status())
    return all.map(({ session, side, domain, peer, phase, outcome, error, advice }) => ({
      session,
      side,
      domain,
      peer,
      phase,
      outcome,
      error: advice ?? error,
    }))
  }

  async receive(session: string, disk: string, domid: number): Promise<GuestDevice> {
    return await this.destination(session).receive(disk, domid)
  }

  async leave(disk: string): Promise<void> {
    const involved = [...this.#all.values()].filter(one => one.has(disk))
    const left = involved.map(async one => {
      if (!(one instanceof DestinationSession)) await one.leave(disk)
    })
    await Promise.race([Promise.all(left), late(LEAVE_MS_MAX)])
  }

  /** Settles once nothing is left to do for those that are over; the others are not waited for. */
  async tidied(): Promise<void> {
    const over = [...this.#all.values()].filter(({ isOver }) => isOver)
    const finished = over.map(one => one.finished)
    await Promise.race([Promise.allSettled(finished), late(LAST_CLEAN_UP_MS_MAX)])
  }
}

const late = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms).unref())
