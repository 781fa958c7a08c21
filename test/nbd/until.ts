/** Waits for a condition that other events bring about; for tests in which nobody tells. */
import { setTimeout as sleep } from 'node:timers/promises'

const WAIT_MS_MAX = 10_000

export async function until(isMet: () => boolean): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX
  while (!isMet()) {
    if (performance.now() > deadline) throw new Error(`not within ${WAIT_MS_MAX} ms: ${isMet}`)
    await sleep(1)
  }
}
