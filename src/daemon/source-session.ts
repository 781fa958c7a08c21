/**
 * A session at the source: from a guest on its plain disks to a guest on the other host, or back.
 * The steps are in `#run`, the answers to the relay in `answer`, and `SourceEnd` puts in order what
 * is left, whatever happened.
 */
import { randomUUID } from 'node:crypto'
import { ControlError } from '../control/control-error.ts'
import { isCancellable, type Outcome } from '../migration/phases.ts'
import type { SourceQuestion } from '../migration/source-relay.ts'
import { MemoryMove } from './memory-move.ts'
import type { MigrateStartParams, RelayRoute, SshAccess } from './messages.ts'
import type { Peer } from './peer.ts'
import { watchPeer } from './peer-watch.ts'
import { checkUnchanged, configuredGuest, type FoundGuest } from './preflight.ts'
import {
  applyToAll,
  messageOf,
  refuse,
  type SessionContext,
  SessionFolder,
  untilDone,
} from './session-context.ts'
import { SessionProgress } from './session-progress.ts'
import { recordedGuest } from './session-record.ts'
import type { SessionStatus } from './session-status.ts'
import { pollAll, type SourceDisk, untilReady } from './source-disk.ts'
import { closeWhenTold, SourceEnd } from './source-end.ts'
import { setUp } from './source-set-up.ts'
import { settleAll } from './turns.ts'

export class SourceSession {
  readonly session = randomUUID()
  readonly domain: string
  readonly finished: Promise<void>
  readonly #context: SessionContext
  readonly #params: MigrateStartParams
  readonly #guest: FoundGuest
  readonly #peer: Peer
  readonly #folder: SessionFolder
  readonly #progress: SessionProgress
  readonly #abort = new AbortController()
  readonly #end: SourceEnd
  #disks: readonly SourceDisk[] = []
  #asking: Promise<void> = Promise.resolve()
  #move: MemoryMove | undefined
  #sealing: Promise<void> | undefined
  #isSealed = false
  #isGivenAway = false

  /** Begins at once. */
  constructor(context: SessionContext, params: MigrateStartParams, guest: FoundGuest, peer: Peer) {
    const { session } = this
    const { domain } = guest
    this.#context = context
    this.#params = params
    this.#guest = guest
    this.#peer = peer
    this.domain = domain
    this.#folder = new SessionFolder(context.host.runFolder, session)
    const about = { session, side: 'source', domain, peer: params.host } as const
    this.#progress = new SessionProgress(about)
    this.#end = new SourceEnd(context, this.#progress, { session, guest, peer })
    this.#record()
    this.finished = this.#run()
  }

  get isOver(): boolean {
    return this.#progress.isOver
  }

  has(disk: string): boolean {
    return this.#guest.disks.some(one => one.disk === disk)
  }

  async #run(): Promise<void> {
    const watching = new AbortController()
    const { log, records } = this.#context
    const { session, domain } = this
    log.info({ session, domain, host: this.#params.host }, 'session begins')
    try {
      await this.#setUp(watching.signal)
      await untilReady(this.#disks, this.#abort.signal)
      this.#progress.enter('ready')
      await this.#moveMemory()
    } catch (error) {
      this.#progress.fail(messageOf(error))
    }
    await untilDone(log, async () => {
      await this.#move?.end()
      return true
    })
    await this.#end.run(this.#disks, this.#sealing, this.#move !== undefined)
    watching.abort()
    await closeWhenTold(this.#end, this.#peer, log)
    await this.#asking
    records.remove(session)
    this.#folder.remove()
    const { phase, outcome, error, downtimeMs, sealMs } = this.#progress
    log.info({ session, domain, phase, outcome, error, downtimeMs, sealMs }, 'session ended')
  }

  /** Both hosts get ready, and the proxies come into the paths. */
  async #setUp(signal: AbortSignal): Promise<void> {
    const { session } = this
    const peer = this.#peer
    const { disks, start } = await setUp({
      context: this.#context,
      session,
      guest: this.#guest,
      params: this.#params,
      peer,
      folder: this.#folder,
      replaced: (index, reason) => this.#replaced(index, reason),
      lost: (index, reason) =>
        this.abort(`the copy of ${this.#guest.disks[index]?.vdev} has ended: ${reason}`),
    })
    this.#asking = watchPeer({
      peer,
      session,
      patienceMs: this.#params.reconnectSeconds * 1000,
      seal: () => this.#seal(),
      lost: problem => this.abort(problem),
      signal,
    })
    this.#disks = disks
    this.#abort.signal.throwIfAborted()
    await start()
    this.#progress.enter('active')
  }

  #replaced(index: number, reason: string): void {
    const disk = this.#disks[index]
    if (disk !== undefined) disk.replacements += 1
    this.#context.log.warn({ disk: disk?.disk, reason }, 'proxy replaced')
  }

  /** xl moves memory, and with it the guest. */
  async #moveMemory(): Promise<void> {
    await checkUnchanged(this.#context, this.#guest)
    this.#abort.signal.throwIfAborted()
    this.#move = new MemoryMove({
      context: this.#context,
      session: this.session,
      guest: this.#guest,
      params: this.#params,
      folder: this.#folder,
      progress: this.#progress,
    })
    this.#record()
    await this.#move.finish(async () => {
      if (this.#sealing !== undefined || this.#abort.signal.aborted) return
      await pollAll(this.#disks).catch(error => this.abort(messageOf(error)))
    })
  }

  /** Once: all disks are cut at one instant, then all are made equal. */
  #seal(): Promise<void> {
    this.#sealing ??= this.#sealAll()
    return this.#sealing
  }

  async #sealAll(): Promise<void> {
    const started = performance.now()
    this.#abort.signal.throwIfAborted()
    // Nobody would take the disks back after it.
    if (this.#move?.isAttended !== true) throw refuse('no relay of this session moves the guest')
    this.#progress.suspend()
    this.#progress.enterMemory('suspended')
    this.#progress.enter('switchover')
    try {
      await settleAll(this.#disks.map(disk => disk.suspend()))
      await settleAll(this.#disks.map(disk => disk.complete()))
      applyToAll(this.#context, 'seal', this.session, this.#guest.disks)
      this.#context.journal.reserve(this.session, 2)
      this.#isSealed = true
    } catch (error) {
      this.#progress.fail(messageOf(error))
      throw error
    }
    this.#progress.sealMs = performance.now() - started
  }

  /** A relay is there, until `signal` aborts; settles when it is to cancel. */
  async attend(pid: number, signal: AbortSignal): Promise<void> {
    if (this.#move === undefined) {
      throw ControlError.refuse('wrong-state', `session ${this.session} needs no relay`)
    }
    const attending = this.#move.attend(pid, signal, this.#abort.signal)
    this.#record()
    await attending
  }

  sent(bytes: number): void {
    this.#progress.sentBytes = bytes
  }

  /** A command line that runs blkferry on the other host, and what may be sent there. */
  async route(words: readonly string[]): Promise<RelayRoute> {
    return {
      argv: this.#peer.argv(words),
      guest: await configuredGuest(this.#context, this.#guest),
    }
  }

  /** Answers the relay. */
  async answer(question: SourceQuestion, signal: AbortSignal): Promise<Outcome | null> {
    switch (question) {
      case 'seal':
        if (!this.#isSealed) throw refuse('the disks have not been sealed')
        return null
      case 'give-away':
        this.#giveAway()
        return null
      case 'take-back':
        await this.#end.takeBack(this.#disks, this.#sealing)
        return null
      case 'confirm':
        await this.#end.confirm(this.#disks)
        return null
      case 'resolve':
        return await this.#end.ask(signal)
    }
  }

  #giveAway(): void {
    this.#abort.signal.throwIfAborted()
    if (!this.#isSealed) throw refuse('the disks have not been sealed')
    applyToAll(this.#context, 'give-away', this.session, this.#guest.disks)
    this.#isGivenAway = true
    this.#progress.enterMemory('starting')
  }

  /** Throws `ControlError` wrong-state past the point of no return. */
  cancel(): void {
    if (!isCancellable(this.#progress.phase, this.#isGivenAway)) {
      const problem = this.isOver ? 'is over' : 'is past the point of no return'
      throw ControlError.refuse('wrong-state', `session ${this.session} ${problem}`)
    }
    this.#progress.enter('cancelling')
    this.abort('cancelled')
  }

  /** Ends it in favour of the source, if that is still possible. */
  abort(problem: string): void {
    if (this.#isGivenAway || this.isOver || this.#abort.signal.aborted) return
    this.#progress.fail(problem)
    this.#abort.abort(new Error(problem))
  }

  /** The operator decides, or asks to try again. */
  async resolve(force: Outcome | null, ssh?: SshAccess): Promise<void> {
    await this.#end.resolve(force, ssh)
  }

  /** The guest lets go of a disk; settles when nothing of ours is in its path. */
  async leave(disk: string): Promise<void> {
    if (this.#end.isHandedOver) {
      const left = this.#disks.find(one => one.disk === disk)
      await left?.discard()
      await left?.stop()
      return
    }
    if (this.#isGivenAway || this.#sealing !== undefined) return
    this.abort('the guest was shut down, rebooted or destroyed')
    await this.finished
  }

  #record(): void {
    const { host, ssh } = this.#params
    this.#context.records.write({
      session: this.session,
      side: 'source',
      ...recordedGuest(this.#guest),
      peer: host,
      ssh,
      processes: this.#move?.processes ?? [],
    })
  }

  status(): SessionStatus {
    return this.#progress.status({
      disks: this.#disks.map(disk => disk.status()),
      isCleaningUp: !this.isOver && this.#end.hasBegun,
      isCancellable: isCancellable(this.#progress.phase, this.#isGivenAway),
    })
  }
}
