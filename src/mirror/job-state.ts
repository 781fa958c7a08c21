/**
 * Where a job is in its life. All changes of state go through here and are checked against the
 * tables in `states.ts`; so is every verb.
 */
import assert from 'node:assert/strict'
import { MirrorError } from './mirror-error.ts'
import { isAllowed, mayFollow, type Outcome, type State, type Verb } from './states.ts'

export class JobState {
  /** Resolves when the job is concluded in any way. */
  readonly concluded: Promise<void>
  #markConcluded!: () => void
  #starting: { resolve: () => void; reject: (error: MirrorError) => void } | undefined
  #state: State = 'created'
  #outcome: Outcome | null = null
  /** One sentence: why it failed, or what it waits for. */
  error: string | null = null

  constructor() {
    this.concluded = new Promise(resolve => {
      this.#markConcluded = resolve
    })
  }

  get now(): State {
    return this.#state
  }

  /** Null until it is concluded. */
  get outcome(): Outcome | null {
    return this.#outcome
  }

  /**
   * Resolves when it runs for the first time, or rejects with the failure that it is concluded
   * with.
   */
  started(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#starting = { resolve, reject }
    })
  }

  enter(state: State): void {
    assert(mayFollow(this.#state, state), `job: ${state} after ${this.#state}`)
    this.#state = state
    if (state === 'running') this.#starting?.resolve()
  }

  conclude(outcome: Outcome, failure: MirrorError): void {
    this.enter('concluded')
    this.#outcome = outcome
    this.error = outcome === 'failed' ? failure.message : null
    this.#starting?.reject(failure)
    this.#markConcluded()
  }

  /** Throws MirrorError `wrong-state` if the verb is not for this state. */
  assertAllowed(verb: Verb): void {
    if (isAllowed(verb, this.#state)) return
    const hint = verb === 'complete' ? ': wait until it is ready' : ''
    throw new MirrorError('wrong-state', `cannot ${verb} a mirror that is ${this.#state}${hint}`)
  }
}
