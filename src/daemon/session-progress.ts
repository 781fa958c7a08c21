/** How far a session is, in the words of `SessionStatus`; each side has one. */
import { isFinal, mayFollow, type Outcome, type Phase } from '../migration/phases.ts'
import type { DiskStatus, MemoryState, SessionStatus, Side } from './session-status.ts'

/** Steps from active to ready and back that are kept. */
const PHASES_MAX = 32

export class SessionProgress {
  readonly #about: Pick<SessionStatus, 'session' | 'side' | 'domain' | 'peer'>
  readonly #start = performance.now()
  #phase: Phase
  readonly #phases: { phase: Phase; atMs: number }[]
  #memoryStart: number | undefined
  #memoryMs = 0
  #suspended: number | undefined
  #memory: MemoryState = 'waiting'
  outcome: Outcome | null = null
  advice: string | undefined
  /** The first reason counts. */
  #error: string | null = null
  sentBytes = 0
  downtimeMs: number | null = null
  sealMs: number | null = null

  constructor(
    about: { session: string; side: Side; domain: string; peer: string },
    phase: Phase = 'setup',
  ) {
    this.#about = about
    this.#phase = phase
    this.#phases = [{ phase, atMs: 0 }]
  }

  get phase(): Phase {
    return this.#phase
  }

  get isOver(): boolean {
    return isFinal(this.#phase)
  }

  get error(): string | null {
    return this.#error
  }

  get memory(): MemoryState {
    return this.#memory
  }

  /** False, and nothing happens, if that phase cannot follow. */
  enter(phase: Phase): boolean {
    // The destination does not hear of all phases in between.
    const isFree = this.#about.side === 'destination' && !this.isOver && phase !== this.#phase
    if (!isFree && !mayFollow(this.#phase, phase)) return false
    this.#phase = phase
    this.#phases.push({ phase, atMs: performance.now() - this.#start })
    if (this.#phases.length > PHASES_MAX) this.#phases.splice(1, 1)
    return true
  }

  fail(problem: string): void {
    this.#error ??= problem
  }

  enterMemory(state: MemoryState): void {
    if (this.#memory === 'waiting') this.#memoryStart = performance.now()
    this.#memory = state
    if (state === 'done' || state === 'ended') this.#memoryMs = this.#elapsedSince()
  }

  #elapsedSince(): number {
    return this.#memoryStart === undefined ? 0 : performance.now() - this.#memoryStart
  }

  /** The guest stands still from now on. */
  suspend(): void {
    this.#suspended ??= performance.now()
  }

  /** It runs, here or there. */
  resume(): void {
    if (this.#suspended === undefined) return
    this.downtimeMs ??= performance.now() - this.#suspended
  }

  status(now: {
    readonly disks: readonly DiskStatus[]
    readonly isCleaningUp: boolean
    readonly isCancellable: boolean
  }): SessionStatus {
    const isMemoryOver = this.#memory === 'done' || this.#memory === 'ended'
    return {
      ...this.#about,
      phase: this.#phase,
      isCleaningUp: now.isCleaningUp,
      outcome: this.outcome,
      isCancellable: now.isCancellable,
      error: this.#error,
      ...(this.advice !== undefined && { advice: this.advice }),
      elapsedMs: performance.now() - this.#start,
      disks: now.disks,
      memory: {
        state: this.#memory,
        sentBytes: this.sentBytes,
        elapsedMs: isMemoryOver ? this.#memoryMs : this.#elapsedSince(),
      },
      downtimeMs: this.downtimeMs,
      sealMs: this.sealMs,
      phases: this.#phases,
    }
  }
}
