/**
 * The end of a session at the source, whatever it was: the disks given away for good, or taken back
 * and the guest on its plain disks. The journal says which; where it says given-away, only the
 * destination's word does, or the operator's.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { ControlError } from '../control/control-error.ts'
import type { Domain } from '../host/xl.ts'
import type { Outcome } from '../migration/phases.ts'
import type { Holding } from '../migration/roles.ts'
import type { SshAccess } from './messages.ts'
import type { Peer } from './peer.ts'
import { applyToAll, type SessionContext, untilDone } from './session-context.ts'
import type { SessionProgress } from './session-progress.ts'
import { type SessionRecord, targetOf } from './session-record.ts'
import type { EndingDisk } from './source-disk.ts'
import { settleAll } from './turns.ts'

export interface SourceEndOptions {
  readonly session: string
  readonly guest: EndingGuest
  readonly peer: Peer
}

interface EndingGuest extends Pick<SessionRecord, 'domain' | 'uuid' | 'disks'> {
  readonly domid: number
}

const WORD_MS_MAX = 15_000
/** How long the relay, and xl behind it, waits for the other host's word. */
const RESOLVE_MS_MAX = 20_000
const RETRY_MS = 1000
/** `resolve` is answered after this, whatever came of it. */
const RESOLVED_MS_MAX = 10_000
const FIRST_WORD_MS_MAX = 5000
/** A host that was slow to answer, or out of reach for a moment, is still told of the end. */
const TELL_MS_MAX = 120_000

export class SourceEnd {
  readonly #context: SessionContext
  readonly #progress: SessionProgress
  readonly #options: SourceEndOptions
  #isHandedOver = false
  #hasBegun = false
  #forced: Outcome | null = null
  #finished: Promise<void> = Promise.resolve()
  #telling: Promise<void> | undefined

  constructor(context: SessionContext, progress: SessionProgress, options: SourceEndOptions) {
    this.#context = context
    this.#progress = progress
    this.#options = options
  }

  /** The destination has the guest, and its word is known. */
  get isHandedOver(): boolean {
    return this.#isHandedOver
  }

  /** After `run`: the other host has not heard yet that it is over, and is still told. */
  get telling(): Promise<void> | undefined {
    return this.#telling
  }

  get hasBegun(): boolean {
    return this.#hasBegun
  }

  get #holding(): Holding {
    const { disk } = this.#options.guest.disks[0]!
    return this.#context.journal.holding(disk)
  }

  get #isOurs(): boolean {
    return this.#holding.session === this.#options.session
  }

  /** The source owns: in the journal first, then the guest may write. */
  async takeBack(disks: readonly EndingDisk[], sealing: Promise<void> | undefined): Promise<void> {
    // A seal that is half done would park the guest again.
    await sealing?.catch(() => {})
    const { session } = this.#options
    if (this.#isOurs && this.#holding.role === 'sealed') {
      applyToAll(this.#context, 'unseal', session, this.#options.guest.disks)
    } else if (this.#isOurs && this.#holding.role === 'given-away') {
      applyToAll(this.#context, 'take-back', session, this.#options.guest.disks)
    }
    await settleAll(disks.map(disk => disk.unseal()))
    this.#progress.resume()
  }

  /** The guest runs there: here nothing may write any more. */
  async confirm(disks: readonly EndingDisk[]): Promise<void> {
    this.#isHandedOver = true
    this.#progress.resume()
    this.#progress.enterMemory('done')
    await settleAll(disks.map(disk => disk.discard()))
  }

  /** Asks the destination until it knows, for a while. */
  async ask(signal: AbortSignal): Promise<Outcome> {
    const end = performance.now() + RESOLVE_MS_MAX
    for (;;) {
      const outcome = await this.#askOnce()
      if (outcome !== 'undefined' || signal.aborted || performance.now() > end) return outcome
      await sleep(RETRY_MS)
    }
  }

  async #askOnce(timeoutMs = WORD_MS_MAX): Promise<Outcome> {
    if (this.#forced !== null) return this.#forced
    const { session, guest, peer } = this.#options
    const asked = guest.disks.map(one => ({ disk: targetOf(one), epoch: one.epoch }))
    try {
      const params = { session, disks: asked }
      const { word, advice } = await peer.call('peer-word', params, { timeoutMs })
      if (word === 'nothing') return 'undefined'
      this.#progress.advice = advice
      return word === 'accepted' ? 'destination-owns' : 'source-owns'
    } catch (error) {
      this.#context.log.warn({ err: error }, 'the destination does not answer')
      return 'undefined'
    }
  }

  /** Puts everything in order; settles when nothing is left, however long that takes. */
  run(
    disks: readonly EndingDisk[],
    sealing: Promise<void> | undefined,
    hasMoved: boolean,
  ): Promise<void> {
    this.#hasBegun = true
    const { log, journal } = this.#context
    this.#finished = untilDone(log, async () => {
      const isDone = await this.#tidy(disks, sealing, hasMoved)
      if (isDone) journal.unreserve(this.#options.session)
      return isDone
    })
    return this.#finished
  }

  async #tidy(
    disks: readonly EndingDisk[],
    sealing: Promise<void> | undefined,
    hasMoved: boolean,
  ): Promise<boolean> {
    if (this.#isOurs && this.#holding.role === 'given-away' && !this.#isHandedOver) {
      const outcome = await this.#askOnce()
      if (outcome === 'undefined') {
        const { peer, session } = this.#options
        const advice = `look whether the guest runs there, then blkferry resolve ${session}`
        this.#progress.fail(`nobody knows yet whether ${peer.host} has the guest: ${advice}`)
        this.#progress.outcome = 'undefined'
        return false
      }
      if (outcome === 'destination-owns') await this.confirm(disks)
    }
    if (this.#isHandedOver) await this.#handOver(disks)
    else await this.#restore(disks, sealing, hasMoved)
    return true
  }

  async #handOver(disks: readonly EndingDisk[]): Promise<void> {
    // Again, should it have failed: a path that ends without it puts the plain disk back.
    await settleAll(disks.map(disk => disk.discard()))
    const { toolstack } = this.#context.host
    const found = await this.#findGuest()
    if (found !== undefined) await toolstack.destroy(found.domid)
    for (const disk of disks) await disk.stop()
    for (const { disk, isPrepared } of this.#options.guest.disks) {
      if (isPrepared !== false) await this.#context.host.devices.remove(disk)
    }
    this.#progress.outcome = 'destination-owns'
    this.#progress.enter('completed')
  }

  async #restore(
    disks: readonly EndingDisk[],
    sealing: Promise<void> | undefined,
    hasMoved: boolean,
  ): Promise<void> {
    await this.takeBack(disks, sealing)
    for (const disk of disks) await disk.stop()
    for (const { disk } of this.#options.guest.disks) this.#context.host.plainDevices.forget(disk)
    if (hasMoved) await this.#resumeGuest()
    // It refuses, and cleans up.
    const word = await this.#askOnce(FIRST_WORD_MS_MAX)
    if (word === 'destination-owns') this.#context.log.error('the destination owns as well')
    if (word === 'undefined') this.#telling = this.#tell()
    this.#progress.outcome = 'source-owns'
    if (!this.#progress.enter('cancelled')) this.#progress.enter('failed')
  }

  /** If it cannot hear us for longer than this it cleans up by itself, later. */
  async #tell(): Promise<void> {
    const end = performance.now() + TELL_MS_MAX
    do await sleep(RETRY_MS)
    while ((await this.#askOnce()) === 'undefined' && performance.now() < end)
  }

  /** It goes on, under no name that xl gave it; one that is gone was shut down meanwhile. */
  async #resumeGuest(): Promise<void> {
    const { toolstack } = this.#context.host
    const { domid, domain } = this.#options.guest
    const found = await this.#findGuest()
    if (found === undefined) return
    await toolstack.resume(domid)
    if (found.name === awayName(domain)) await toolstack.rename(domid, domain)
  }

  /** The next boot gives its number to another guest, and the operator may have renamed it. */
  async #findGuest(): Promise<Domain | undefined> {
    const { domid, domain, uuid } = this.#options.guest
    const found = await this.#context.host.toolstack.findById(domid)
    if (found === undefined) return undefined
    const isKnown = uuid !== undefined && found.uuid !== undefined
    const isOurs = isKnown ? found.uuid === uuid : [domain, awayName(domain)].includes(found.name)
    return isOurs ? found : undefined
  }

  /** Throws `ControlError` wrong-state if there is nothing to decide. */
  async resolve(force: Outcome | null, ssh?: SshAccess): Promise<void> {
    if (!this.#hasBegun || this.#progress.isOver) {
      const problem = 'has nothing to resolve: its outcome is known, or still being made'
      throw ControlError.refuse('wrong-state', `session ${this.#options.session} ${problem}`)
    }
    if (ssh !== undefined) this.#options.peer.use(ssh)
    if (force !== null) this.#forced = force
    await Promise.race([this.#finished, sleep(RESOLVED_MS_MAX)])
  }
}

/** The connection stays while the other host has to be told; nobody waits for that. */
export async function closeWhenTold(end: SourceEnd, peer: Peer, log: Logger): Promise<void> {
  const { telling } = end
  const close = (): Promise<void> =>
    peer.close().catch(error => log.warn({ err: error }, 'ssh not closed'))
  if (telling === undefined) await close()
  else void telling.then(close)
}

/** What xl calls it while the destination's may run. */
const awayName = (domain: string): string => `${domain}--migratedaway`
