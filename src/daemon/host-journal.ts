/**
 * The journal of this host, opened anew after a write that failed: only the bytes can tell then
 * what is true.
 */
import type { Journal } from '../migration/journal.ts'
import { JournalError } from '../migration/journal-error.ts'
import { type Holding, NO_HOLDING, type RoleChange, type RoleVerb } from '../migration/roles.ts'

export class HostJournal {
  readonly #open: () => Journal
  #journal: Journal | undefined

  /** Throws JournalError if it cannot be opened. */
  constructor(open: () => Journal) {
    this.#open = open
    this.#journal = open()
  }

  /** Throws JournalError. */
  get #whole(): Journal {
    this.#journal ??= this.#open()
    return this.#journal
  }

  holding(disk: string): Holding {
    return this.#whole.holding(disk) ?? NO_HOLDING
  }

  get disks(): ReadonlyMap<string, Holding> {
    return this.#whole.disks
  }

  /** Throws JournalError. */
  apply(verb: RoleVerb, changes: readonly RoleChange[]): void {
    this.#using(journal => journal.apply(verb, changes))
  }

  reserve(session: string, steps: number): void {
    this.#using(journal => journal.reserve(session, steps))
  }

  unreserve(session: string): void {
    this.#journal?.unreserve(session)
  }

  close(): void {
    this.#journal?.close()
    this.#journal = undefined
  }

  #using(work: (journal: Journal) => void): void {
    try {
      work(this.#whole)
    } catch (error) {
      if (error instanceof JournalError && error.code === 'broken') this.close()
      throw error
    }
  }
}
