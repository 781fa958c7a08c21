import { NBD_CMD_FLUSH } from 'nbd-client-ts'
import { expect, it } from 'vitest'
import { pass, setUp } from './set-up.ts'

it('has the target flush before it holds anybody, and once more before it is over', async () => {
  const { clock, job, gate, target } = setUp()
  await job.start()
  await pass(clock, 300)
  expect(job.state).toBe('ready')
  target.isHung = true
  target.seen.length = 0
  const completed = job.complete({ verify: false, resume: true, timeoutMs: 5000 })
  await pass(clock, 400)
  expect(target.seen.map(({ command }) => command)).toEqual([NBD_CMD_FLUSH])
  expect(gate.isStopped).toBe(false)
  expect(job.status()).toMatchObject({ state: 'switchover', heldMs: 0 })
  target.unhang()
  await completed
  expect(target.seen.map(({ command }) => command)).toEqual([NBD_CMD_FLUSH, NBD_CMD_FLUSH])
})
