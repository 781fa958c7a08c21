/**
 * The end of a mirror: flush the target, hold the clients, copy the last chunks, flush what came
 * meanwhile, and compare if asked to. Either all of that succeeds within the time, or the clients
 * go on at the source as if nothing had been tried.
 *
 * Invariant: when it succeeds the clients are held, nothing is in flight, nothing is dirty, and the
 * target has flushed everything.
 */
import { errnoName } from '../block/block-error.ts'
import type { Clock, Timer } from '../io/clock.ts'
import type { Memory } from '../io/memory.ts'
import type { Copier } from './copier.ts'
import { MirrorError } from './mirror-error.ts'
import type { Target } from './target.ts'
import { firstDifference } from './verifier.ts'

/** Holds the clients back; see block/gate.ts. */
export interface ClientGate {
  /**
   * Resolves when nothing is in flight above the mirror. If that takes longer it resumes and
   * rejects.
   */
  quiesceWithin(clock: Clock, timeoutMs: number): Promise<void>
  resume(): void
}

export interface SwitchoverOptions {
  readonly clock: Clock
  readonly gate: ClientGate
  readonly copier: Copier
  readonly target: Target
  readonly memory: readonly Memory[]
  /** A flush has settled; a slice has been compared. */
  readonly flushed: (error: number) => void
  readonly compared: () => void
  readonly verify: boolean
  /** For all of it (milliseconds). */
  readonly timeoutMs: number
}

export class Switchover {
  readonly #options: SwitchoverOptions
  readonly #timer: Timer
  readonly #aborted: Promise<never>
  #abort!: (error: MirrorError) => void
  #abortedBy: MirrorError | undefined
  #isVerifying = false
  #drained: (() => void) | undefined
  /** When clients began to be held. */
  #heldAt: number | undefined
  #endedAt: number | undefined
  /** Resolves when it uses memory and target no more, however it went. */
  readonly over: Promise<void>
  #markOver!: () => void

  constructor(options: SwitchoverOptions) {
    this.#options = options
    const { clock, timeoutMs } = options
    this.#timer = clock.createTimer(() => {
      this.abort(
        new MirrorError(
          'timeout',
          `switchover took longer than ${timeoutMs} ms: the clients go on`,
        ),
      )
    })
    this.#aborted = new Promise((_, reject) => {
      this.#abort = reject
    })
    this.over = new Promise(resolve => {
      this.#markOver = resolve
    })
    // It may be that nobody waits for it at the moment.
    this.#aborted.catch(() => undefined)
  }

  /** How long clients are, or were, held. */
  get heldMs(): number {
    if (this.#heldAt === undefined) return 0
    return (this.#endedAt ?? this.#options.clock.now()) - this.#heldAt
  }

  /** It uses memory and target no more. */
  get isOver(): boolean {
    return this.#endedAt !== undefined
  }

  /** The target owes answers to the comparison. */
  get isVerifying(): boolean {
    return this.#isVerifying
  }

  /** Rejects with MirrorError, the clients going on and the memory free again. */
  async run(): Promise<void> {
    const { clock, gate, copier, timeoutMs } = this.#options
    this.#timer.arm(timeoutMs)
    try {
      // The long part of a flush is over before anybody waits for it.
      await this.#flush()
      this.#heldAt = clock.now()
      await this.#unlessAborted(this.#quiesce())
      copier.isHurried = true
      await this.#finishCopy()
      if (this.#options.verify) await this.#verify()
    } catch (error) {
      gate.resume()
      throw error
    } finally {
      this.#timer.disarm()
      copier.isHurried = false
      this.#markOver()
    }
  }

  /** Gives up, for a reason that `run` rejects with. */
  abort(error: MirrorError): void {
    this.#abortedBy ??= error
    // The clients are not to wait for what a hung target still owes us.
    this.#options.gate.resume()
    this.#abort(error)
  }

  /** Whoever awaited `run` knows how it went: nothing can give it up any more. */
  end(): void {
    this.#endedAt = this.#options.clock.now()
  }

  /**
   * Throws why it was given up, if that came after the last step and before whoever awaits `run`
   * got to know of its success: the clients go on already.
   */
  assertHolding(): void {
    if (this.#abortedBy !== undefined) throw this.#abortedBy
  }

  /** To be called whenever something has settled. */
  check(): void {
    if (this.#drained !== undefined && this.#isDrained()) {
      this.#drained()
      this.#drained = undefined
    }
  }

  async #quiesce(): Promise<void> {
    const { clock, gate, timeoutMs } = this.#options
    try {
      await gate.quiesceWithin(clock, timeoutMs)
    } catch (cause) {
      const message = `clients' requests did not settle within ${timeoutMs} ms: try again`
      throw new MirrorError('timeout', message, cause)
    }
  }

  /** A flush that fails has made chunks dirty again: the clients are not to wait for those. */
  async #finishCopy(): Promise<void> {
    do {
      await this.#unlessAborted(this.#drain())
      await this.#flush()
    } while (!this.#isDrained())
  }

  async #flush(): Promise<void> {
    const error = await this.#unlessAborted(this.flushTarget())
    if (error === 0) return
    const message = `the target cannot be flushed (${errnoName(error)}): the clients go on`
    throw new MirrorError('mirror-failed', message)
  }

  /** Settles with an errno or 0. */
  flushTarget(): Promise<number> {
    const { target, flushed } = this.#options
    return new Promise(resolve => {
      target.flush({
        targetFlushed: error => {
          flushed(error)
          resolve(error)
        },
      })
    })
  }

  #drain(): Promise<void> {
    return new Promise(resolve => {
      this.#drained = resolve
      this.check()
    })
  }

  #isDrained(): boolean {
    const { copier, target } = this.#options
    const { isSynced, writesCount } = target.tracking
    return isSynced && writesCount === 0 && copier.operationsCount === 0
  }

  /** Is waited for even when it is given up: the memory is the copier's. */
  async #verify(): Promise<void> {
    const { copier, target, memory, compared } = this.#options
    const { size } = target.tracking.bitmap
    const isAborted = () => this.#isAborted()
    const devices = { source: copier.source, target: target.device }
    const options = { ...devices, size, memory, isAborted, compared }
    this.#isVerifying = true
    // Clients may go on before the last answer is there; the copier may not, until the job starts
    // it.
    copier.stop()
    let offset: number
    try {
      offset = await firstDifference(options)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      if (this.#isAborted()) await this.#aborted
      throw new MirrorError('mirror-failed', `cannot compare the disks, ${reason}`, cause)
    } finally {
      this.#isVerifying = false
    }
    if (this.#isAborted()) await this.#aborted
    if (offset >= 0) {
      const message = `disk and target differ at offset ${offset}: start the mirror anew`
      throw new MirrorError('verify-difference', message)
    }
  }

  #isAborted(): boolean {
    return this.#abortedBy !== undefined
  }

  #unlessAborted<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([this.#aborted, promise])
  }
}
