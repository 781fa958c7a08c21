/**
 * Counts what is under way, and lets close wait for the last of it. One per device; nothing is
 * allocated until somebody waits. Invariant: the count is what was entered and has not left.
 */
import assert from 'node:assert/strict'

export class InFlight {
  #count = 0
  #idle: Promise<void> | undefined
  #becameIdle: (() => void) | undefined

  get count(): number {
    return this.#count
  }

  enter(): void {
    this.#count++
  }

  /** Call it after the completion has run, so that whoever waits finds that done too. */
  leave(): void {
    assert(this.#count > 0, 'in flight: left more often than entered')
    this.#count--
    if (this.#count === 0 && this.#becameIdle !== undefined) {
      this.#becameIdle()
      this.#becameIdle = undefined
      this.#idle = undefined
    }
  }

  /** Resolves when nothing is under way; at once if that is so already. */
  idle(): Promise<void> {
    if (this.#count === 0) return Promise.resolve()
    this.#idle ??= new Promise(resolve => {
      this.#becameIdle = resolve
    })
    return this.#idle
  }
}
