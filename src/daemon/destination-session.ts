/**
 * A session at the destination. It offers the disks to the source, waits for libxl to add them,
 * asks the source to seal, and answers the relay. Whatever ends, relay, link or daemon, the journal
 * decides: a disk that was not accepted is refused, one that was accepted stays.
 */
import { ControlError } from '../control/control-error.ts'
import type { DestinationQuestion } from '../migration/destination-relay.ts'
import type { Outcome, Phase, Word } from '../migration/phases.ts'
import type { Holding } from '../migration/roles.ts'
import type { GuestDevice } from './host.ts'
import { IncomingDisk } from './incoming-disk.ts'
import { dropGuest, keepGuest } from './incoming-guest.ts'
import type { Prepared, PrepareParams } from './messages.ts'
import { endProcess, markOf, type ProcessMark } from './processes.ts'
import { SealRequest } from './seal-request.ts'
import {
  applyToAll,
  messageOf,
  refuse,
  type SessionContext,
  SessionFolder,
  untilDone,
} from './session-context.ts'
import { SessionProgress } from './session-progress.ts'
import type { SessionRecord } from './session-record.ts'
import type { SessionStatus } from './session-status.ts'
import { wordOf } from './word.ts'

/** Nobody of the source has asked for this long: it will not come back. */
export const LEASE_MS = 15 * 60_000
/** xl ends by itself when its relay is gone; then it is killed. */
const XL_GRACE_MS = 15_000

export class DestinationSession {
  readonly session: string
  readonly domain: string
  readonly source: string
  /** Settles when nothing is left to do. */
  readonly finished: Promise<void>
  readonly #context: SessionContext
  readonly #folder: SessionFolder
  readonly #disks: readonly IncomingDisk[]
  readonly #progress: SessionProgress
  readonly #seal = new SealRequest()
  #domid: number | undefined
  /** The relay and its xl, once they are there. */
  #relay: readonly ProcessMark[] | undefined
  #lease: NodeJS.Timeout | undefined
  #isEnding = false
  #finish: () => void = () => {}

  /** `places`: where each disk is on this host. */
  constructor(
    context: SessionContext,
    { session, domain, source, key, disks }: PrepareParams,
    places: readonly string[],
  ) {
    this.#context = context
    this.session = session
    this.domain = domain
    this.source = source
    const about = { session, side: 'destination', domain, peer: source } as const
    this.#progress = new SessionProgress(about)
    const folder = new SessionFolder(context.host.runFolder, session)
    this.#folder = folder
    const keyFile = key === '' ? undefined : folder.writeKey(session, key)
    this.finished = new Promise(resolve => {
      this.#finish = resolve
    })
    const started = (): void => this.#record()
    this.#disks = disks.map(
      (one, index) =>
        new IncomingDisk(context, one, { path: places[index]!, folder, keyFile, started }),
    )
  }

  /** Finishes what another daemon left behind. */
  static recover(
    context: SessionContext,
    { session, domain, domid, peer, disks, processes }: SessionRecord,
    places: readonly string[],
  ): DestinationSession {
    const all = disks.map(one => ({ ...one, blockSize: 512 }))
    const params = { session, domain, source: peer, key: '', disks: all }
    const found = new DestinationSession(context, params, places)
    found.#domid = domid ?? undefined
    found.#relay = processes
    void found.#end('the daemon was restarted')
    return found
  }

  /** Journals that the disks are coming, and exports them. */
  async start(): Promise<Prepared> {
    try {
      applyToAll(this.#context, 'admit', this.session, this.#disks)
      this.#record()
      await Promise.all(this.#disks.map(one => one.export.start()))
    } catch (error) {
      void this.#end(messageOf(error))
      throw error
    }
    this.#progress.enter('active')
    this.#renewLease()
    return {
      exports: this.#disks.map(one => ({ port: one.export.port, name: one.exportName })),
    }
  }

  get isOver(): boolean {
    return this.#progress.isOver
  }

  has(disk: string): boolean {
    return this.#disks.some(one => one.disk === disk)
  }

  /** libxl adds a disk: the guest is suspended at the source. */
  async receive(disk: string, domid: number): Promise<GuestDevice> {
    const incoming = this.#disks.find(one => one.disk === disk)
    if (incoming === undefined || this.#isEnding) throw this.#overError()
    if (this.#relay === undefined) {
      throw refuse(`disk ${disk} comes with session ${this.session}, not by any other xl: wait`)
    }
    const name = await this.#context.host.xenstore.read(`/local/domain/${domid}/name`)
    if (name !== `${this.domain}--incoming`) {
      const problem = `is for ${this.domain}--incoming, and domain ${domid} is ${name}`
      throw refuse(`disk ${disk} ${problem}: wait until the session has ended`)
    }
    this.#domid = domid
    this.#record()
    this.#progress.enterMemory('suspended')
    this.#progress.enter('switchover')
    await this.#seal.ask()
    if (this.#isEnding) throw this.#overError()
    return await incoming.take()
  }

  /** Answers when the source is to do something, or after the time. */
  wait(timeoutMs: number): Promise<{ want: 'seal' | null; isOver: boolean }> {
    this.#renewLease()
    return this.#seal.wait(timeoutMs)
  }

  /** What came of the sealing at the source. */
  sealed(error: string | null): void {
    this.#seal.answer(error)
  }

  /** A relay is there, until `signal` aborts; then the session comes to its end. */
  attend(pids: readonly number[], signal: AbortSignal): Promise<void> {
    if (this.#relay !== undefined || this.#isEnding) throw this.#overError()
    this.#relay = pids.flatMap(pid => markOf(pid) ?? [])
    this.#progress.enterMemory('moving')
    this.#record()
    return new Promise(resolve => {
      const gone = (): void => {
        resolve()
        void this.#end('the relay has ended')
      }
      if (signal.aborted) gone()
      else signal.addEventListener('abort', gone, { once: true })
    })
  }

  answer(question: DestinationQuestion): void {
    switch (question) {
      case 'prepare': {
        const missing = this.#disks.find(one => one.state !== 'sealed')
        if (missing !== undefined) throw refuse(`disk ${missing.disk} was not handed over`)
        this.#context.journal.reserve(this.session, 2)
        return
      }
      case 'accept':
        this.#apply('accept')
        this.#progress.enterMemory('starting')
        this.#context.log.info({ session: this.session }, 'this host owns the disks')
        return
      case 'refuse':
        this.#refuse()
        return
      case 'settle':
        this.#settle()
        return
      case 'hand-back':
        if (this.#holding.role === 'owner') this.#apply('hand-back')
        else this.#refuse()
    }
  }

  /** The disks of a session change together: one speaks for all. */
  get #holding(): Holding {
    return this.#context.journal.holding(this.#disks[0]!.disk)
  }

  get #hasSettled(): boolean {
    return this.#holding.role === 'owner' && this.#holding.session === undefined
  }

  #apply(verb: 'accept' | 'refuse' | 'settle' | 'hand-back'): void {
    applyToAll(this.#context, verb, this.session, this.#disks)
  }

  #refuse(): void {
    if (this.#holding.role === 'incoming') this.#apply('refuse')
  }

  #settle(): void {
    if (!this.#hasSettled) this.#apply('settle')
    this.#progress.enterMemory('done')
    for (const disk of this.#disks) disk.state = 'handed-over'
  }

  /** The source wants to know; whatever is not accepted yet never will be. */
  word(): { word: Word; advice?: string } {
    this.#refuse()
    const word = wordOf(this.#context.journal, this.session, this.#disks)
    if (word === 'refused') void this.#end('the source has given up')
    const { advice } = this.#progress
    return { word, ...(advice !== undefined && { advice }) }
  }

  #renewLease(): void {
    clearTimeout(this.#lease)
    if (this.#isEnding) return
    this.#lease = setTimeout(() => {
      const isWaiting = this.#holding.role === 'incoming'
      if (isWaiting) void this.#end('the source has not been heard of for long')
    }, LEASE_MS)
    this.#lease.unref()
  }

  /** Puts in order whatever there is; the first reason counts. */
  async #end(problem: string): Promise<void> {
    if (this.#isEnding) return
    this.#isEnding = true
    clearTimeout(this.#lease)
    this.#seal.end()
    const { log, records, journal } = this.#context
    await untilDone(log, () => this.#tidy(problem))
    journal.unreserve(this.session)
    records.remove(this.session)
    this.#folder.remove()
    this.#finish()
  }

  /** An xl that its relay has left behind must not act any more, before anything is decided. */
  async #tidy(problem: string): Promise<boolean> {
    await Promise.all((this.#relay ?? []).map(mark => endProcess(mark, XL_GRACE_MS)))
    this.#refuse()
    const { toolstack } = this.#context.host
    if (this.#holding.role === 'owner') {
      if (!this.#hasSettled) {
        this.#progress.advice = await keepGuest(this.#context.host, this.domain, this.#domid)
      }
      this.#settle()
      this.#conclude('completed', 'destination-owns')
      return true
    }
    await dropGuest(toolstack, this.domain, this.#domid)
    for (const disk of this.#disks) await disk.discard()
    this.#progress.fail(problem)
    this.#progress.enterMemory('ended')
    this.#conclude('failed', 'source-owns')
    return true
  }

  #conclude(phase: Phase, outcome: Outcome): void {
    this.#progress.outcome = outcome
    this.#progress.enter(phase)
    const { session, domain } = this
    const { error, advice } = this.#progress
    this.#context.log.info({ session, domain, outcome, error, advice }, 'session ended')
  }

  #overError(): ControlError {
    return ControlError.refuse('wrong-state', `session ${this.session} is over, or has a relay`)
  }

  #record(): void {
    const exports = this.#disks.flatMap(one => one.export.process ?? [])
    this.#context.records.write({
      session: this.session,
      side: 'destination',
      domain: this.domain,
      domid: this.#domid ?? null,
      peer: this.source,
      ssh: { environment: {}, options: [] },
      disks: this.#disks.map(({ vdev, disk, size, epoch }) => ({ vdev, disk, size, epoch })),
      processes: [...exports, ...(this.#relay ?? [])],
    })
  }

  status(): SessionStatus {
    return this.#progress.status({
      disks: this.#disks.map(one => one.status()),
      isCleaningUp: this.#isEnding && !this.isOver,
      isCancellable: false,
    })
  }
}
