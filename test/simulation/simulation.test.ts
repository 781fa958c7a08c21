import { expect, it } from 'vitest'
import { firstFailure, traceOf } from './run.ts'

const SEEDS = 20_000

it('the mirror keeps its invariant in every seed', { timeout: 180_000 }, async () => {
  const failure = await firstFailure(1, SEEDS)
  expect(failure && (await traceOf(failure.seed))).toBeUndefined()
})
