import { NBD_CMD_READ } from 'nbd-client-ts'
import { expect, it } from 'vitest'
import { pass, setUp } from './set-up.ts'

it('is not closed while the comparison still reads the disk into its memory', async () => {
  const { clock, job, source } = setUp()
  await job.start()
  await pass(clock, 300)
  // From now on the disk answers no read before it is told to.
  const held: (() => void)[] = []
  const submit = source.submit.bind(source)
  source.submit = request => {
    if (request.command === NBD_CMD_READ) held.push(() => submit(request))
    else submit(request)
  }
  const failure = job.complete({ verify: true, resume: false, timeoutMs: 1000 }).catch(e => e)
  await pass(clock, 20)
  expect(held.length).toBeGreaterThan(0)
  let isClosed = false
  const cancelled = job.cancel().then(() => {
    isClosed = true
  })
  await pass(clock, 100)
  expect(isClosed).toBe(false)
  for (const release of held.splice(0)) release()
  await cancelled
  expect(await failure).toMatchObject({ code: 'mirror-cancelled' })
})
