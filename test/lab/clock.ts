/** Waiting, always with an end. Times are those of the machine that runs the lab, monotonic, ms. */
import { setTimeout as sleep } from 'node:timers/promises'

export const now = (): number => performance.now()

export const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`

export { sleep }

/**
 * Asks until there is an answer other than undefined. Throws an Error that names `what` when time
 * is up, with the last error of `ask` as its cause.
 */
export async function until<T>(
  what: string,
  timeoutMs: number,
  ask: () => Promise<T | undefined> | T | undefined,
  everyMs = 200,
): Promise<T> {
  const end = now() + timeoutMs
  let cause: unknown
  for (;;) {
    try {
      const answer = await ask()
      if (answer !== undefined) return answer
    } catch (error) {
      cause = error
    }
    if (now() > end) throw new Error(`${what}: not within ${seconds(timeoutMs)}`, { cause })
    await sleep(everyMs)
  }
}
