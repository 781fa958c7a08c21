import { expect, it } from 'vitest'
import type { BlockDevice } from '../../src/block/device.ts'
import { Connector, RECONNECT_MS_MAX } from '../../src/mirror/connector.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

/** A connector and what it does; each attempt is answered by the test. */
function setUp() {
  const clock = new VirtualClock()
  const attempts: { at: number; succeed: () => void; fail: () => void }[] = []
  const events: string[] = []
  const closed: number[] = []
  const connect = () =>
    new Promise<BlockDevice>((resolve, reject) => {
      const index = attempts.length
      const close = async () => void closed.push(index)
      const device = { info: {}, submit: () => {}, close } as unknown as BlockDevice
      attempts.push({
        at: clock.now(),
        succeed: () => resolve(device),
        fail: () => reject(new Error(`attempt ${index}`)),
      })
    })
  const connector = new Connector(clock, connect, {
    connected: () => events.push('connected'),
    gaveUp: cause => events.push(`gave up: ${(cause as Error).message}`),
  })
  return { clock, attempts, events, closed, connector }
}

const settle = async () => {
  for (let i = 0; i < 5; i++) await undefined
}

it('the first connection is tried once', async () => {
  const { clock, attempts, events, connector } = setUp()
  connector.connect()
  attempts[0]!.fail()
  await settle()
  clock.advance(60_000)
  expect(events).toEqual(['gave up: attempt 0'])
  expect(attempts).toHaveLength(1)
})

it('pauses between attempts double up to a limit, and begin anew with the next loss', async () => {
  const { clock, attempts, connector } = setUp()
  connector.reconnect(0)
  for (let i = 0; i < 9; i++) {
    attempts.at(-1)!.fail()
    await settle()
    clock.advance(RECONNECT_MS_MAX)
  }
  // Each pause is followed by the rest of what the clock was advanced by.
  expect(attempts.map(({ at }, i) => at - i * RECONNECT_MS_MAX)).toEqual([
    0, -4900, -4800, -4600, -4200, -3400, -1800, 0, 0, 0,
  ])
  attempts.at(-1)!.succeed()
  await settle()
  connector.reconnect(0)
  const before = clock.now()
  attempts.at(-1)!.fail()
  await settle()
  clock.advance(100)
  expect(attempts.at(-1)!.at).toBe(before + 100)
})

it('gives up when the time is over, with the last cause', async () => {
  const { clock, attempts, events, connector } = setUp()
  connector.reconnect(1)
  while (events.length === 0) {
    attempts.at(-1)!.fail()
    await settle()
    clock.advance(1000)
    expect(attempts.length).toBeLessThan(20)
  }
  expect(events).toEqual([`gave up: attempt ${attempts.length - 1}`])
})

it('closes what connects after nobody wants it any more', async () => {
  const { attempts, events, closed, connector } = setUp()
  connector.reconnect(0)
  connector.abandon()
  attempts[0]!.succeed()
  await settle()
  expect(closed).toEqual([0])
  expect(events).toEqual([])
})

it('does not try again after it was abandoned in a pause', async () => {
  const { clock, attempts, connector } = setUp()
  connector.reconnect(0)
  attempts[0]!.fail()
  await settle()
  connector.abandon()
  clock.advance(60_000)
  expect(attempts).toHaveLength(1)
})
