import { NBD_CMD_WRITE } from 'nbd-client-ts'
import { expect, it } from 'vitest'
import { createRequest, heapMemory, start } from '../support/requests.ts'
import { GRANULARITY, pass, setUp } from './set-up.ts'

const STALL_MS = 100

function write(offset: number, value: number) {
  const memory = heapMemory(GRANULARITY, value)
  return createRequest({ command: NBD_CMD_WRITE, offset, length: GRANULARITY, memory })
}

async function ready() {
  const world = setUp({ stallMs: STALL_MS })
  await world.job.start()
  await pass(world.clock, 300)
  expect(world.job.status()).toMatchObject({ state: 'ready', copyMode: 'write-blocking' })
  return world
}

it('a hung target keeps no guest write waiting for more than the budget', async () => {
  const { clock, target, gate, job } = await ready()
  target.isHung = true
  const longest: number[] = []
  for (let round = 0; round < 20; round++) {
    // To a chunk of its own, and to one that every round writes to.
    const writes = [write((round + 1) * GRANULARITY, round), write(0, round)]
    const watched = writes.map(request => start(gate, request))
    const startedAt = clock.now()
    while (watched.some(({ outcome }) => outcome === undefined)) {
      await pass(clock, 5)
      expect(clock.now() - startedAt).toBeLessThanOrEqual(1.5 * STALL_MS)
    }
    expect(watched.map(({ outcome }) => outcome)).toEqual([0, 0])
    longest.push(clock.now() - startedAt)
    await pass(clock, 50)
  }
  // It did wait once: the target was really in its way.
  expect(Math.max(...longest)).toBeGreaterThanOrEqual(STALL_MS)
  expect(longest.filter(ms => ms >= STALL_MS)).toHaveLength(1)
  expect(job.status()).toMatchObject({ state: 'running', copyMode: 'background', stalls: 2 })
})

it('the job goes back to write-blocking and becomes ready by itself', async () => {
  const { clock, source, target, gate, job } = await ready()
  target.isHung = true
  start(gate, write(0, 1))
  await pass(clock, STALL_MS + 10)
  start(gate, write(GRANULARITY, 2))
  await pass(clock, 500)
  expect(job.state).toBe('running')
  target.unhang()
  await pass(clock, 3000)
  expect(job.status()).toMatchObject({ state: 'ready', activelySynced: true, dirtyBytes: 0 })
  expect(Buffer.compare(target.next.bytes, source.bytes)).toBe(0)
})

it(
  'a request that was answered late keeps its ' + 'memory until the target is done with it',
  async () => {
    const { clock, target, gate } = await ready()
    target.isHung = true
    const request = write(0, 9)
    const watched = start(gate, request)
    await pass(clock, STALL_MS + 10)
    expect(watched.outcome).toBe(0)
    expect(request.isLent).toBe(true)
    target.unhang()
    expect(request.isLent).toBe(false)
  },
)

it('a target that hangs for long is given up and connected again', async () => {
  const { clock, target, gate, job, source } = await ready()
  target.isHung = true
  start(gate, write(0, 3))
  await pass(clock, 31_000)
  expect(job.status().reconnects).toBe(1)
  target.unhang()
  await pass(clock, 3000)
  expect(job.status()).toMatchObject({ state: 'ready', reconnects: 1 })
  expect(Buffer.compare(target.next.bytes, source.bytes)).toBe(0)
})
