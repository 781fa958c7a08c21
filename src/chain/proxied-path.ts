/**
 * The disk path itself: what the guest's device stands on, who looks after the proxy, and what is
 * done when it fails. Two things can go on at once: what the owner asks for (start, seal, stop...),
 * one at a time, and care for a proxy that has failed. The latter never waits for the former,
 * because a seal that waits for the guest's last requests waits for the next proxy.
 */

import type { Verb, Verbs } from '../control/messages.ts'
import { Below } from './below.ts'
import {
  type DiskPath,
  DiskPathError,
  type DiskPathOptions,
  type DiskPathState,
} from './disk-path.ts'
import type { GuestDevice } from './guest-device.ts'
import { type Ailment, Health } from './health.ts'
import type { ChainNames } from './names.ts'
import { pause } from './pause.ts'
import { workOf } from './process-work.ts'
import { ProxyControl } from './proxy-control.ts'

/** So many proxies are replaced in so long a time (ms); one more, and there is no sense in it. */
const REPLACED_MAX = 4
const REPLACED_WITHIN_MS = 30_000
/** Between two tries to put the disk in the proxy's place (ms), and how many there are. */
const BYPASS_RETRY_MS = 500
const BYPASS_TRIES = 20

export class ProxiedPath implements DiskPath {
  readonly #options: DiskPathOptions
  readonly #guest: GuestDevice
  readonly #control: ProxyControl
  readonly #below: Below
  #state: DiskPathState = 'plain'
  #isLost = false
  /** Made, and not removed yet. */
  #isMade = false
  #health: Health | undefined
  #replacedAt: readonly number[] = []
  /** What the owner has asked for last, and how much of it is not done. */
  #turn: Promise<unknown> = Promise.resolve()
  #askedCount = 0
  #isReleasing = false
  /** Care for a failed proxy that is under way. */
  #care: Promise<void> = Promise.resolve()

  constructor(options: DiskPathOptions, guest: GuestDevice, names: ChainNames) {
    this.#options = options
    this.#guest = guest
    this.#control = new ProxyControl(names.control)
    this.#below = new Below(options, guest, names)
  }

  get device(): string {
    return this.#guest.name
  }

  get size(): number {
    return this.#guest.size
  }

  get state(): DiskPathState {
    return this.#state
  }

  start(): Promise<void> {
    return this.#ask(async () => {
      this.#need('start', 'plain')
      if (this.#isMade) throw new DiskPathError('state', 'a disk path starts once; open another')
      await this.#below.checkNames()
      this.#isMade = true
      try {
        const numbers = await this.#below.make()
        await this.#control.attach()
        await this.#guest.swapOnto(numbers)
        await this.#control.open()
      } catch (error) {
        await this.#undoStart(error)
        throw error
      }
      this.#state = 'proxied'
      this.#watch()
    })
  }

  call<V extends Verb>(
    verb: V,
    params: Verbs[V]['params'],
    options: { readonly timeoutMs: number },
  ): Promise<Verbs[V]['result']> {
    return this.#control.call(verb, params, options)
  }

  seal(): Promise<void> {
    return this.#ask(async () => {
      this.#need('seal', 'proxied')
      this.#needProxy()
      await this.#guest.suspend()
      this.#needProxy()
      this.#state = 'sealed'
    })
  }

  unseal(): Promise<void> {
    return this.#ask(() => this.#toPlain())
  }

  discard(): Promise<void> {
    return this.#ask(async () => {
      this.#need('discard', 'sealed')
      await this.#guest.fail()
      this.#state = 'discarded'
    })
  }

  stop(): Promise<void> {
    return this.#ask(async () => {
      if (!this.#isMade) return
      if (this.#state !== 'discarded') await this.#toPlain()
      await this.#release()
      this.#isMade = false
    })
  }

  async #toPlain(): Promise<void> {
    if (this.#state === 'discarded') {
      throw new DiskPathError('state', `${this.device} was discarded; there is no way back`)
    }
    if (!this.#isMade) return
    await this.#guest.swapToPlain()
    this.#state = 'plain'
  }

  /** Nothing of the guest goes through the proxy any more. */
  async #release(): Promise<void> {
    this.#isReleasing = true
    await this.#health?.stop()
    // Whoever cares for a proxy just now may be starting its mirror again, for as long as the
    // target is out of reach.
    this.#control.end('the disk path has been stopped')
    await this.#care
    await this.#below.remove({ keepsLog: this.#isLost })
  }

  async #undoStart(error: unknown): Promise<void> {
    this.#isLost = true
    try {
      await this.#guest.swapToPlain()
      await this.#release()
      this.#isMade = false
    } catch (second) {
      if (error instanceof DiskPathError) error.cleanUpErrors.push(second)
      else this.#options.log.error({ err: second }, 'failed start was not undone')
    }
  }

  // Care for the proxy

  #watch(): Health | undefined {
    const { proxy } = this.#below
    if (proxy === undefined || this.#isReleasing) return undefined
    this.#below.prepareNext({ isNice: true })
    const health = new Health({
      status: timeoutMs => this.#control.status(timeoutMs),
      work: () => workOf(proxy.pid),
      hasFailedPath: () => this.#below.multipath.hasFailedPath(),
      isBypassed: () => this.#isBypassed(),
      ails: ailment => this.#fails(health, ailment),
    })
    this.#health = health
    void proxy.exited.then(how => this.#fails(health, how))
    return health
  }

  /** Only while no change of ours is under way; `proxied` is a state that never comes back. */
  async #isBypassed(): Promise<boolean> {
    const isAtRest = (): boolean => this.#state === 'proxied' && this.#askedCount === 0
    return isAtRest() && (await this.#guest.isBypassed()) && isAtRest()
  }

  /** The first to tell is heard. */
  #fails(health: Health, what: Ailment | string): void {
    if (this.#health !== health || this.#isReleasing) return
    this.#health = undefined
    void health.stop()
    this.#control.detach()
    this.#care = this.#care.then(() => this.#careFor(what))
  }

  async #careFor(what: Ailment | string): Promise<void> {
    if (this.#isLost) return
    const { log, events } = this.#options
    const isBypassed = what === 'bypassed'
    const reason = isBypassed ? this.#guest.bypassedSentence : sentenceOf(what)
    const since = performance.now()
    try {
      const isFinal = isBypassed || what === 'disk error' || this.#isTooOften(since)
      if (isFinal) throw new DiskPathError(isBypassed ? 'device' : 'proxy', reason)
      await this.#below.replaceProxy()
      log.warn({ reason, ms: performance.now() - since }, 'proxy replaced')
      await this.#control.attach()
    } catch (error) {
      await this.#giveUp(error)
      return
    }
    if (this.#isReleasing) return
    const health = this.#watch()
    try {
      await this.#control.open()
      events.replaced(reason)
    } catch (error) {
      // One that failed again is cared for again, one that is put away needs no care.
      if (this.#health === health && !this.#isReleasing) await this.#giveUp(error)
    }
  }

  #isTooOften(now: number): boolean {
    const recent = this.#replacedAt.filter(at => now - at < REPLACED_WITHIN_MS)
    this.#replacedAt = [...recent, now]
    return recent.length >= REPLACED_MAX
  }

  /** The session is over for this disk; the guest is to go on without noticing more. */
  async #giveUp(cause: unknown): Promise<void> {
    const { log, events } = this.#options
    const reason = cause instanceof Error ? cause.message : String(cause)
    this.#isLost = true
    this.#control.end(reason)
    void this.#health?.stop()
    this.#health = undefined
    for (let tried = 1; ; tried++) {
      try {
        await this.#below.bypass(() => this.#takeOff())
        log.warn({ err: cause }, 'guest is back on its plain disk')
        break
      } catch (error) {
        log.error({ err: error, tried }, 'disk cannot be put in the place of the proxy')
        if (tried === BYPASS_TRIES) break
        await pause(BYPASS_RETRY_MS)
      }
    }
    events.lost(reason)
  }

  /** An owner who is waiting for something already does it himself, and later. */
  async #takeOff(): Promise<void> {
    if (this.#state === 'proxied' && this.#askedCount === 0) await this.unseal()
  }

  // The owner's wishes

  /** One at a time, since each depends on the state that the one before has left. */
  async #ask(act: () => Promise<void>): Promise<void> {
    this.#askedCount++
    const acting = this.#turn.then(act)
    this.#turn = acting.catch(() => {})
    try {
      await acting
    } finally {
      this.#askedCount--
    }
  }

  #need(verb: string, state: DiskPathState): void {
    if (this.#state === state) return
    throw new DiskPathError('state', `${this.device}: ${verb} needs ${state}, not ${this.#state}`)
  }

  #needProxy(): void {
    if (!this.#isLost) return
    throw new DiskPathError('proxy', `${this.device}: its proxy is lost; end the session`)
  }
}

function sentenceOf(what: Ailment | string): string {
  if (what === 'hung') return 'the proxy did not answer'
  if (what === 'silent') return 'the proxy closed its control connection'
  if (what === 'disk error') return 'the disk refused a request'
  if (what === 'path') return 'the connection to the proxy was lost'
  return `the proxy ended (${what})`
}
