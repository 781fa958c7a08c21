/**
 * `npm run sim -- --seeds N [--seed FIRST]`: runs many seeds and prints the trace of the first that
 * fails.
 */
import { parseArgs } from 'node:util'
import { firstFailure, traceOf } from './run.ts'

const BATCH = 5000

const { values } = parseArgs({
  options: { seeds: { type: 'string', default: '20000' }, seed: { type: 'string', default: '1' } },
})
const first = Number(values.seed)
const end = first + Number(values.seeds)
const startedAt = performance.now()
for (let seed = first; seed < end; seed += BATCH) {
  const failure = await firstFailure(seed, Math.min(BATCH, end - seed))
  if (failure !== undefined) {
    process.stdout.write(`${await traceOf(failure.seed)}\n`)
    process.exitCode = 1
    break
  }
  const done = Math.min(seed + BATCH, end) - first
  const rate = Math.round(done / ((performance.now() - startedAt) / 1000))
  process.stdout.write(`${done} seeds passed, ${rate} a second\n`)
}
