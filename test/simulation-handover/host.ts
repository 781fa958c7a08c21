/** A host: its journal, which outlives it, and how often it has been started. */
import { Journal } from '../../src/migration/journal.ts'
import { replay } from '../../src/migration/journal-codec.ts'
import type { RelayMachine } from '../../src/migration/relay-machine.ts'
import { NO_HOLDING, type Role, type RoleVerb } from '../../src/migration/roles.ts'
import { MemoryStorage } from '../migration/memory-journal.ts'
import { Violation, type World } from './world.ts'

export const DISK = 'xvda'
export const SESSION = 'session-1'

export class Host {
  readonly storage = new MemoryStorage()
  isUp = true
  /** Whatever was started before a crash must not act after it. */
  life = 0
  #journal: Journal | undefined

  get journal(): Journal {
    this.#journal ??= new Journal(this.storage)
    return this.#journal
  }

  /** A broken journal, or a crash: the next one to look reads the bytes. */
  reopen(): void {
    this.#journal = undefined
  }

  get role(): Role {
    return this.journal.holding(DISK).role
  }

  /** Throws what the journal throws; a broken one is opened anew by the next step. */
  apply(verb: RoleVerb, epoch?: number): void {
    try {
      const session = verb === 'claim' ? {} : { session: SESSION }
      this.journal.apply(verb, [
        { disk: DISK, ...session, ...(epoch === undefined ? {} : { epoch }) },
      ])
    } catch (error) {
      this.reopen()
      throw error
    }
  }

  #read: { version: number; role: Role } | undefined

  /** What the bytes say. */
  get durableRole(): Role {
    const version = this.storage.writes + this.storage.replacements
    if (this.#read?.version !== version) {
      const { holdings } = replay(this.storage.bytes!)
      this.#read = { version, role: (holdings.get(DISK) ?? NO_HOLDING).role }
    }
    return this.#read.role
  }

  /** A question takes its time, before and after it is acted on; a dead asker gets no answer. */
  put<Q extends string>(
    world: World,
    relay: () => RelayMachine<Q> | undefined,
    question: Q,
    answers: Readonly<Record<Q, () => unknown>>,
  ): void {
    const { life } = this
    const asker = relay()
    world.after(world.between(0, 3), () => {
      if (this.life !== life) return
      let answer: unknown
      let error: unknown
      try {
        answer = answers[question]()
      } catch (thrown) {
        error = thrown
      }
      if (answer === 'later') {
        if (relay() === asker) this.put(world, relay, question, answers)
        return
      }
      world.after(world.between(0, 3), () => {
        if (relay() !== asker || asker === undefined) return
        if (error === undefined) asker.answered(question, answer)
        else asker.failed(question, error)
      })
    })
  }

  /** Tries a step until it says that it is done, or the host crashes. */
  tidy(world: World, step: () => boolean): void {
    const { life } = this
    world.after(world.between(5, 20), () => {
      if (this.life !== life || !this.isUp) return
      let isDone = false
      try {
        isDone = step()
      } catch (error) {
        if (error instanceof Violation) throw error
      }
      if (!isDone) this.tidy(world, step)
    })
  }
}
