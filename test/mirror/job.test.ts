import { NBD_CMD_FLUSH, NBD_CMD_WRITE } from 'nbd-client-ts'
import { expect, it } from 'vitest'
import { EIO, ENOSPC, EPERM } from '../../src/block/errno.ts'
import { createRequest, heapMemory, start } from '../support/requests.ts'
import { GRANULARITY, pass, setUp } from './set-up.ts'

const COMPLETE = { verify: false, resume: false, timeoutMs: 1000 }

async function ready(choices: Parameters<typeof setUp>[0] = {}) {
  const world = setUp(choices)
  await world.job.start()
  await pass(world.clock, 300)
  expect(world.job.state).toBe('ready')
  return world
}

function write(offset: number, value: number) {
  const memory = heapMemory(GRANULARITY, value)
  return createRequest({ command: NBD_CMD_WRITE, offset, length: GRANULARITY, memory })
}

it.each(['auto', 'background', 'write-blocking'] as const)(
  'a completed switchover leaves equal disks, a flushed target and held clients: %s',
  async copyMode => {
    const { job, source, target, gate } = await ready({ copyMode })
    start(gate, write(3 * GRANULARITY, 1))
    await job.complete({ ...COMPLETE, verify: true })
    expect(job.status()).toMatchObject({ state: 'concluded', outcome: 'completed', heldMs: 0 })
    expect(Buffer.compare(target.next.bytes, source.bytes)).toBe(0)
    const commands = target.seen.map(({ command }) => command)
    expect(commands.lastIndexOf(NBD_CMD_FLUSH)).toBeGreaterThan(commands.lastIndexOf(NBD_CMD_WRITE))
    const held = start(gate, write(0, 2))
    expect(held.outcome).toBeUndefined()
    job.resume()
    expect(held.outcome).toBe(0)
    expect(() => job.resume()).toThrow('no clients are held')
  },
)

it('a switchover that takes too long is taken back, and may be tried again', async () => {
  const { clock, job, target, gate } = await ready()
  target.isHung = true
  const failure = job.complete(COMPLETE).catch((error: unknown) => error)
  await pass(clock, 1100)
  expect(await failure).toMatchObject({ code: 'timeout' })
  const going = start(gate, write(0, 2))
  await pass(clock, 150)
  expect(going.outcome).toBe(0)
  target.unhang()
  await pass(clock, 3000)
  await job.complete(COMPLETE)
  expect(job.status().outcome).toBe('completed')
})

it('a difference found by verify ends the job, and the clients go on', async () => {
  const { job, target, gate } = await ready()
  target.next.bytes[5 * GRANULARITY + 17]! ^= 1
  await expect(job.complete({ ...COMPLETE, verify: true })).rejects.toMatchObject({
    code: 'verify-difference',
    message: expect.stringContaining(`offset ${5 * GRANULARITY + 17}`),
  })
  expect(job.status()).toMatchObject({ state: 'concluded', outcome: 'failed' })
  expect(start(gate, write(0, 2)).outcome).toBe(0)
})

it('cancel in the midst of a switchover lets the clients go on', async () => {
  const { clock, job, target, gate } = await ready()
  target.isHung = true
  const failure = job.complete(COMPLETE).catch((error: unknown) => error)
  await pass(clock, 20)
  await job.cancel()
  expect(await failure).toMatchObject({ code: 'mirror-cancelled' })
  expect(job.status().outcome).toBe('cancelled')
  expect(start(gate, write(0, 2)).outcome).toBe(0)
})

it.each([
  [ENOSPC, 'full'],
  [EPERM, 'refuses writes'],
])('errno %i of the target ends the job, and the guest does not notice', async (error, words) => {
  const { clock, job, target, gate } = await ready()
  target.error = error
  const watched = start(gate, write(0, 2))
  await pass(clock, 200)
  expect(watched.outcome).toBe(0)
  expect(job.status()).toMatchObject({ outcome: 'failed', error: expect.stringContaining(words) })
})

it('a target that fails for a while is tried again, one that always fails is not', async () => {
  for (const [ms, state] of [
    [300, 'ready'],
    [120_000, 'concluded'],
  ] as const) {
    const { clock, job, target, gate } = await ready()
    target.error = EIO
    const watched = start(gate, write(0, 2))
    await pass(clock, ms)
    target.error = 0
    await pass(clock, 5000)
    expect(watched.outcome).toBe(0)
    expect([ms, job.state]).toEqual([ms, state])
  }
})

it('verbs that are not for the state say what to do', async () => {
  const { job } = setUp()
  await expect(job.complete(COMPLETE)).rejects.toThrow('wait until it is ready')
  await job.start()
  await job.cancel()
  await expect(job.cancel()).rejects.toThrow('cannot cancel a mirror that is concluded')
})

it('is closed only when no request can touch the bits any more', async () => {
  const { clock, job, target, gate, tracking } = await ready()
  target.isHung = true
  start(gate, write(0, 2))
  await pass(clock, 150)
  expect(tracking.requests.count).toBe(1)
  await job.cancel()
  expect([tracking.requests.count, tracking.writesCount]).toEqual([0, 0])
  const before = tracking.bitmap.dirtyCount
  start(gate, write(GRANULARITY, 3))
  expect([tracking.requests.count, tracking.bitmap.dirtyCount]).toEqual([0, before])
})
