/** For a look at the mutations: node dist/simulation/test/simulation/mutate.js */
import { COVERED, MUTATIONS } from './mutations.ts'
import { firstFailure } from './run.ts'

for (const mutation of [...MUTATIONS, ...COVERED]) {
  const restore = mutation.patch?.()
  const at = performance.now()
  const failure = await firstFailure(1, 20000, mutation)
  restore?.()
  console.log(
    mutation.name.padEnd(60),
    failure?.seed,
    String((failure?.error as Error)?.message ?? ''),
    Math.round(performance.now() - at),
  )
}
