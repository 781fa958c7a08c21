/** How much the copier may have under way beside a guest. */
import { expect, it } from 'vitest'
import { BUSY_LENGTH_MAX, BUSY_MS, BUSY_OPERATIONS_MAX, Pace } from '../../src/mirror/pace.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const ROOM = { operationsMax: 4, lengthMax: 2 * 1024 * 1024 }
const NEAR = { operationsMax: BUSY_OPERATIONS_MAX, lengthMax: BUSY_LENGTH_MAX }

function setUp() {
  const clock = new VirtualClock()
  const guest = { lastRequestAt: 0 }
  const tracking = { writesCount: 0 }
  const pace = new Pace({ clock, guest, tracking }, ROOM)
  const now = () => ({ operationsMax: pace.operationsMax, lengthMax: pace.lengthMax })
  const operation = (ms: number) => {
    const startedAt = clock.now()
    clock.advance(ms)
    pace.tookSince(startedAt)
    guest.lastRequestAt = clock.now()
  }
  return { clock, tracking, pace, now, operation }
}

it('is all there is room for when the guest is idle, and little when it is not', () => {
  const { clock, tracking, now } = setUp()
  expect(now()).toEqual(NEAR)
  clock.advance(BUSY_MS)
  expect(now()).toEqual(ROOM)
  tracking.writesCount = 1
  expect(now()).toEqual(NEAR)
})

it('is more beside a guest when the target is far, until another takes its place', () => {
  const { now, operation, pace } = setUp()
  operation(20)
  expect(now()).toEqual({ operationsMax: 4, lengthMax: 2 * BUSY_LENGTH_MAX })
  pace.begin()
  operation(1000)
  expect(now()).toEqual({ operationsMax: 4, lengthMax: 4 * BUSY_LENGTH_MAX })
})

it('goes by the shortest time: a target that is late once in a while is near', () => {
  const { now, operation } = setUp()
  for (const ms of [30, 1, 50, 30]) operation(ms)
  expect(now()).toEqual(NEAR)
})
