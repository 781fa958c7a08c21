import { expect, it } from 'vitest'
import { COVERED, MUTATIONS, type Mutation } from './mutations.ts'
import { type Failure, firstFailure } from './run.ts'
import { Violation } from './world.ts'

const SEEDS = 20_000
/** For rules that are covered by others it is only shown that they run. */
const SEEDS_COVERED = 500
/** For the rarest one on a busy machine. */
const TIMEOUT_MS = 120_000

async function tryOut(mutation: Mutation, seeds: number): Promise<Failure | undefined> {
  const restore = mutation.patch?.()
  try {
    return await firstFailure(1, seeds, mutation)
  } finally {
    restore?.()
  }
}

it.each(MUTATIONS)('the simulation notices when $name', { timeout: TIMEOUT_MS }, async mutation => {
  const failure = await tryOut(mutation, SEEDS)
  expect(failure, `not noticed in ${SEEDS} seeds`).toBeDefined()
  process.stdout.write(`seed ${failure!.seed} notices: ${mutation.name}\n`)
  // What the invariant, the guest's own checks or the mirror's own comparison of the disks say, not
  // an accident of the wrong rule.
  const isDifference = (failure!.error as { code?: string }).code === 'verify-difference'
  expect(isDifference || failure!.error instanceof Violation).toBe(true)
})

it.each(COVERED)('another rule covers when $name', async mutation => {
  expect(await tryOut(mutation, SEEDS_COVERED)).toBeUndefined()
})
