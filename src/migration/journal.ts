/**
 * What this host is to each of its disks, so that it survives everything. A step is on the disk
 * before `apply` returns, for all its disks or for none; act on it only then. After a write that
 * failed nobody knows what the disk holds: the journal refuses every further step until it is
 * opened anew. One process has it at a time; calls block, for one small write each.
 */
import { type Entries, encodeSlot, encodeSnapshot, replay, SLOT_BYTES } from './journal-codec.ts'
import { JournalError } from './journal-error.ts'
import {
  describe,
  follow,
  type Holding,
  NO_HOLDING,
  type RoleChange,
  type RoleVerb,
} from './roles.ts'

/** Where the bytes live. Every call is durable when it returns, or throws with nothing promised. */
export interface JournalStorage {
  /**
   * The whole file; undefined if there is none yet. What was read is on the disk, not on its way.
   */
  read(): Uint8Array | undefined
  /** Overwrites bytes inside the file. */
  write(offset: number, bytes: Uint8Array): void
  /** Replaces the file: afterwards it is the old one or the new one, never a mixture or none. */
  replace(bytes: Uint8Array): void
  close(): void
}

/** Free slots of a new file; written as zeroes, so that a record needs no new block of the disk. */
export const FREE_SLOTS = 64
export const DISKS_MAX = 4096
/** Slots that a session may hold back. */
export const RESERVATION_MAX = 16

export class Journal {
  readonly #storage: JournalStorage
  readonly #holdings: Map<string, Holding>
  readonly #reserved = new Map<string, number>()
  #sequence: number
  #used: number
  #total: number
  #broken: unknown
  /** Whether the last record was torn by a crash, when it was opened. */
  readonly wasTorn: boolean

  /** Throws JournalError `corrupt`, `full` or `broken`. The journal owns `storage` from then on. */
  constructor(storage: JournalStorage) {
    this.#storage = storage
    const bytes = storage.read()
    const found = bytes && replay(bytes)
    this.#holdings = found?.holdings ?? new Map()
    this.#sequence = found?.sequence ?? -1
    this.#used = found?.used ?? 0
    this.#total = found?.total ?? 0
    this.wasTorn = found?.isTorn ?? false
    if (found === undefined) this.#compact(0)
  }

  holding(disk: string): Holding {
    return this.#holdings.get(disk) ?? NO_HOLDING
  }

  get disks(): ReadonlyMap<string, Holding> {
    return this.#holdings
  }

  /** Throws JournalError: `refused` or `full` and nothing has changed, or `broken`. */
  apply(verb: RoleVerb, changes: readonly RoleChange[]): void {
    this.#checkWhole()
    const entries = changes.map(change => this.#entry(verb, change))
    if (new Set(entries.map(([disk]) => disk)).size !== entries.length || entries.length === 0) {
      throw new JournalError('refused', `${verb} needs each of its disks once`)
    }
    const added = entries.filter(([disk]) => !this.#holdings.has(disk)).length
    if (this.#holdings.size + added > DISKS_MAX) {
      throw new JournalError('refused', `journal has ${DISKS_MAX} disks already, its limit`)
    }
    const session = changes[0]?.session
    this.#makeRoom(session)
    this.#append(entries)
    const held = session === undefined ? undefined : this.#reserved.get(session)
    if (held !== undefined) this.#reserved.set(session!, Math.max(0, held - 1))
  }

  #entry(verb: RoleVerb, { disk, ...change }: RoleChange): Entries[number] {
    const now = this.holding(disk)
    const next = follow(now, verb, change)
    if (typeof next === 'string') throw new JournalError('refused', `${verb} disk ${disk}: ${next}`)
    return [disk, next]
  }

  /**
   * Room for that many steps of a session, on the disk, whatever else is written: no step of it can
   * then fail for want of space. Throws JournalError `full`.
   */
  reserve(session: string, steps: number): void {
    this.#checkWhole()
    if (!(steps >= 0 && steps <= RESERVATION_MAX)) {
      throw new RangeError(`a session reserves up to ${RESERVATION_MAX} steps, not ${steps}`)
    }
    const others = this.#reservedBy(session)
    if (this.#total - this.#used < others + steps) this.#compact(others + steps)
    this.#reserved.set(session, steps)
  }

  /** The session needs no more room. */
  unreserve(session: string): void {
    this.#reserved.delete(session)
  }

  close(): void {
    this.#storage.close()
  }

  /** Slots held back for others than `session`. */
  #reservedBy(session: string | undefined): number {
    let sum = 0
    for (const [name, steps] of this.#reserved) if (name !== session) sum += steps
    return sum
  }

  #makeRoom(session: string | undefined): void {
    const free = this.#total - this.#used
    // A session that reserved may use the last slot that is not another's.
    if (free <= this.#reservedBy(session)) this.#compact(this.#reservedBy(session) + 1)
  }

  #append(entries: Entries): void {
    const slot = encodeSlot(this.#sequence + 1, entries)
    try {
      this.#storage.write(this.#used * SLOT_BYTES, slot)
    } catch (error) {
      this.#broken = error
      throw this.#brokenError()
    }
    this.#sequence++
    this.#used++
    for (const [disk, holding] of entries) this.#holdings.set(disk, holding)
  }

  /**
   * A new file with the present state and `free` slots at least. On failure the old one goes on.
   */
  #compact(free: number): void {
    const snapshot = encodeSnapshot(this.#sequence + 1, [...this.#holdings])
    const total = snapshot.length + Math.max(free, FREE_SLOTS)
    const bytes = Buffer.alloc(total * SLOT_BYTES)
    for (const [index, slot] of snapshot.entries()) bytes.set(slot, index * SLOT_BYTES)
    try {
      this.#storage.replace(bytes)
    } catch (error) {
      if (error instanceof JournalError) {
        // What stood in for the file and what replaced it say the same, so that only room is
        // missing.
        throw error
      }
      this.#broken = error
      throw this.#brokenError()
    }
    this.#sequence += snapshot.length
    this.#used = snapshot.length
    this.#total = total
  }

  #checkWhole(): void {
    if (this.#broken !== undefined) throw this.#brokenError()
  }

  #brokenError(): JournalError {
    const problem = this.#broken instanceof Error ? this.#broken.message : String(this.#broken)
    const message = `journal could not be written (${problem}); repair its disk, then restart`
    return new JournalError('broken', message, this.#broken)
  }
}

/** `xvda owner, xvdb sealed (session s1)`, for logs and for the operator. */
export function describeHoldings(disks: ReadonlyMap<string, Holding>): string {
  return [...disks].map(([disk, holding]) => `${disk} ${describe(holding)}`).join(', ')
}
