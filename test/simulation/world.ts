/**
 * Virtual time and a seeded scheduler: events run one at a time, the earliest first. Everything
 * random comes from the seed.
 */
import type { Clock, Timer } from '../../src/io/clock.ts'
import { Random } from '../support/random.ts'

/** A property that has to hold does not. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

/** Thrown in the midst of the mirror's code where the process is killed. */
export const KILLED: unique symbol = Symbol('killed')

interface Event {
  at: number
  run: () => void
}

/** Requests submitted in one event. */
const WORK_MAX = 1000
const TRACE_MAX = 100

export class World implements Clock {
  readonly random: Random
  readonly trace: string[] | undefined
  #now = 0
  #events: Event[] = []
  /** Stores until the process is killed; negative for never. */
  #storesLeft = -1
  isKilled = false
  failure: unknown
  #isInEvent = false
  #workCount = 0

  constructor(seed: number, isTraced: boolean) {
    this.random = new Random(seed)
    this.trace = isTraced ? [] : undefined
  }

  now(): number {
    return this.#now
  }

  after(delayMs: number, run: () => void): Event {
    const event = { at: this.#now + delayMs, run }
    this.#events.push(event)
    return event
  }

  cancel(event: Event): void {
    const index = this.#events.indexOf(event)
    if (index >= 0) this.#remove(index)
  }

  createTimer(expired: () => void): Timer {
    let armed: Event | undefined
    const run = () => {
      armed = undefined
      expired()
    }
    return {
      arm: delayMs => {
        if (armed !== undefined) this.cancel(armed)
        armed = this.after(delayMs, run)
      },
      disarm: () => {
        if (armed !== undefined) this.cancel(armed)
        armed = undefined
      },
    }
  }

  /** Runs the next event. */
  step(): void {
    const events = this.#events
    let next = 0
    for (let i = 1; i < events.length; i++) if (events[i]!.at < events[next]!.at) next = i
    const event = events[next]
    if (event === undefined) throw new Violation('nothing is left to happen')
    this.#remove(next)
    this.#now = event.at
    this.#isInEvent = true
    this.#workCount = 0
    try {
      event.run()
    } catch (error) {
      if (error !== KILLED) throw error
    } finally {
      this.#isInEvent = false
    }
  }

  /** A time between the two, in milliseconds. */
  between(min: number, max: number): number {
    return min + (this.random.u32() / 2 ** 32) * (max - min)
  }

  /** The process is to be killed before its next store but `stores`. */
  killIn(stores: number): void {
    this.#storesLeft = stores
  }

  /** The mirror is about to store something that outlives it. */
  store(): void {
    if (this.isKilled) throw KILLED
    // In a promise's continuation it would become a rejection: it waits for the next store.
    if (!this.#isInEvent || this.#storesLeft < 0 || this.#storesLeft-- > 0) return
    this.isKilled = true
    throw KILLED
  }

  /** Nothing that was to happen happens. */
  forget(): void {
    this.#events = []
    this.#storesLeft = -1
    this.isKilled = false
  }

  /** A request is submitted: there is a limit to what one event can bring about. */
  work(): void {
    if (this.#workCount++ > WORK_MAX) this.fail('it goes on and on without time going by')
  }

  /** Throws; and keeps it, for the case that a promise swallows it. */
  fail(message: string): never {
    this.failure ??= new Violation(message)
    throw this.failure
  }

  note(text: () => string): void {
    if (this.trace === undefined) return
    this.trace.push(`${this.#now.toFixed(2)} ${text()}`)
    if (this.trace.length > TRACE_MAX) this.trace.shift()
  }

  #remove(index: number): void {
    const last = this.#events.pop()!
    if (index < this.#events.length) this.#events[index] = last
  }
}
