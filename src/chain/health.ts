/**
 * Looks at a proxy several times a second: does it answer, on both of its threads, and does the
 * guest's path through it work? A process that has ended says so itself and is not looked for here.
 */
import type { ServeStatus } from '../control/status.ts'
import { pause, settlesWithin } from './pause.ts'
import type { ProcessWork } from './process-work.ts'

/** Between the end of one look and the next (ms). */
export const LOOK_INTERVAL_MS = 300
/** A proxy that says nothing for so long hangs (ms), unless it waits for a processor only. */
export const ANSWER_MS_MAX = 1000
/** The same of one that a signal has stopped (ms). */
export const STOPPED_MS_MAX = 250
/**
 * For one that waits for a processor this is the limit (ms): on a host that has none to spare the
 * next one would wait too.
 */
export const STARVED_MS_MAX = 30_000
/**
 * One that has computed for so long (ms), by the clock as well, since it may do so on many
 * processors, and said nothing goes round in circles.
 */
export const COMPUTED_MS_MAX = 4000
/** How often that is looked at (ms). */
const SLICE_MS = 250

/**
 * `hung`: it does not answer. `silent`: it has closed the connection. `disk error`: the disk has
 * refused a request, and the guest is to hear of it. `path`: the kernel has given the connection
 * up. `bypassed`: what the guest writes does not come through it any more.
 */
export type Ailment = 'hung' | 'silent' | 'disk error' | 'path' | 'bypassed'

export interface HealthOptions {
  readonly status: (timeoutMs: number) => Promise<ServeStatus>
  /** What its process does just now. */
  readonly work: () => ProcessWork
  readonly hasFailedPath: () => Promise<boolean>
  readonly isBypassed: () => Promise<boolean>
  /** Called once; then looking is over. */
  readonly ails: (ailment: Ailment) => void
}

export class Health {
  readonly #options: HealthOptions
  #isOver = false
  readonly #watching: Promise<void>

  constructor(options: HealthOptions) {
    this.#options = options
    this.#watching = this.#watch()
  }

  /** Settles when no look is under way. */
  async stop(): Promise<void> {
    this.#isOver = true
    await this.#watching
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      await pause(LOOK_INTERVAL_MS)
      if (this.#isOver) return
      const ailment = await this.#look()
      if (this.#isOver || ailment === undefined) continue
      this.#isOver = true
      this.#options.ails(ailment)
    }
  }

  async #look(): Promise<Ailment | undefined> {
    const [answer, isPathFailed, isBypassed] = await Promise.all([
      this.#answer(),
      // A device-mapper that does not answer is no fault of the proxy's.
      this.#options.hasFailedPath().catch(() => false),
      this.#options.isBypassed().catch(() => false),
    ])
    if (isBypassed) return 'bypassed'
    if (typeof answer === 'string') return answer
    if (!isPathFailed) return undefined
    return answer.requests.errors > 0 ? 'disk error' : 'path'
  }

  /** Counts slices and not the time: if it is we who were held up, it has not had its second. */
  async #answer(): Promise<ServeStatus | 'hung' | 'silent'> {
    const { status, work } = this.#options
    const answer = status(2 * STARVED_MS_MAX).catch(() => 'silent' as const)
    const before = work().computedMs
    let idle = 0
    for (let slice = 1; !(await settlesWithin(answer, SLICE_MS)); slice++) {
      const { isBusy, isStopped, computedMs } = work()
      idle = isBusy ? 0 : idle + 1
      const [silentMs, idleMs] = [slice * SLICE_MS, idle * SLICE_MS]
      const isLooping = Math.min(silentMs, computedMs - before) >= COMPUTED_MS_MAX
      const isLate = idleMs >= (isStopped ? STOPPED_MS_MAX : ANSWER_MS_MAX)
      if (this.#isOver || isLate || isLooping || silentMs >= STARVED_MS_MAX) return 'hung'
    }
    return await answer
  }
}
