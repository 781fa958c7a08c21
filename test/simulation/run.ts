/** Runs seeds, and tells of the first that fails. */
import { setImmediate } from 'node:timers/promises'
import { Simulation } from './simulation.ts'
import type { Variant } from './variant.ts'

export interface Failure {
  readonly seed: number
  readonly error: unknown
}

/** The first seed of `count` from `from` on that fails, if any does. */
export async function firstFailure(
  from: number,
  count: number,
  variant: Variant = {},
): Promise<Failure | undefined> {
  for (let seed = from; seed < from + count; seed++) {
    // Node frees what it remembers of rejections when the event loop turns.
    if (seed % 100 === 0) await setImmediate()
    try {
      await new Simulation(seed, variant).run()
    } catch (error) {
      return { seed, error }
    }
  }
  return undefined
}

/** What happened in a seed, the last of it, as lines. */
export async function traceOf(seed: number, variant: Variant = {}): Promise<string> {
  const simulation = new Simulation(seed, variant, true)
  try {
    await simulation.run()
    return `seed ${seed} passes`
  } catch (error) {
    const reason = error instanceof Error ? error.stack : String(error)
    return [...simulation.trace, `seed ${seed}: ${reason}`].join('\n')
  }
}
