/**
 * What the destination wants of the source: that it seals the disks, once for all of them. The
 * source asks for it by a call that is held until there is something to say.
 */
import { ControlError } from '../control/control-error.ts'
import { refuse } from './session-context.ts'
import { within } from './turns.ts'

/** libxl waits for `add` for 40 s; the source's answer has to leave time for the rest. */
export const SEAL_MS_MAX = 22_000

export class SealRequest {
  #state: 'unasked' | 'asked' | 'sealed' | 'failed' = 'unasked'
  #answer: Promise<void> | undefined
  #settle: (error: string | null) => void = () => {}
  readonly #waiting = new Set<() => void>()
  #isOver = false

  /** Settles once the source has sealed; the same answer for every caller. */
  ask(): Promise<void> {
    this.#answer ??= this.#ask()
    return this.#answer
  }

  async #ask(): Promise<void> {
    this.#state = 'asked'
    const answer = new Promise<void>((resolve, reject) => {
      this.#settle = error => {
        if (this.#state !== 'asked') return
        this.#state = error === null ? 'sealed' : 'failed'
        if (error === null) resolve()
        else reject(refuse(`the source cannot seal the disks: ${error}`))
      }
    })
    this.#wakeAll()
    await within(SEAL_MS_MAX, answer, () => {
      this.#state = 'failed'
      return ControlError.refuse('timeout', 'the source has not sealed the disks in time')
    })
  }

  /** The source's answer; null: they are sealed. */
  answer(error: string | null): void {
    this.#settle(error)
  }

  /** Answers when the source is to do something, or after the time. */
  async wait(timeoutMs: number): Promise<{ want: 'seal' | null; isOver: boolean }> {
    if (this.#state !== 'asked' && !this.#isOver) {
      await new Promise<void>(resolve => {
        const wake = (): void => {
          clearTimeout(timer)
          this.#waiting.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, timeoutMs)
        this.#waiting.add(wake)
      })
    }
    return { want: this.#state === 'asked' ? 'seal' : null, isOver: this.#isOver }
  }

  end(): void {
    this.#isOver = true
    this.#settle('the session has ended')
    this.#wakeAll()
  }

  #wakeAll(): void {
    for (const wake of this.#waiting) wake()
  }
}
