/** How a wait adapts, with a ring and a clock that do what a test tells them. */
import { expect, test } from 'vitest'
import { POLL_MS_MAX, PollingWait } from '../../src/io/polling-wait.ts'

const ASK_MS = 0.001

/** Each wait of `waitsMs` ends after that time; tells how many of the calls slept. */
function sleeps(waitsMs: readonly number[], processors = 2): number[] {
  let now = 0
  let comesAt = 0
  let slept = 0
  const ring = {
    enter(waitMs: number): void {
      now += ASK_MS
      if (waitMs === 0) return
      slept++
      now = Math.max(now, Math.min(comesAt, now + waitMs))
    },
    get available(): number {
      return now >= comesAt ? 1 : 0
    },
  }
  const wait = new PollingWait(ring, () => now, processors)
  return waitsMs.map(ms => {
    slept = 0
    comesAt = now + ms
    wait.enter(1000, 1)
    expect(ring.available).toBe(1)
    return slept
  })
}

const SHORT = 0.02
const LONG = 5

test('after a few short waits it sleeps no more', () => {
  expect(sleeps(new Array(12).fill(SHORT))).toEqual([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
})

test('one long wait costs a sleep, many make it begin anew', () => {
  const short = new Array(6).fill(SHORT)
  expect(sleeps([...short, LONG, ...short]).slice(7)).toEqual([1, 0, 0, 0, 0, 0])
  const long = new Array(6).fill(LONG)
  expect(sleeps([...short, ...long, ...short]).slice(12)).toEqual([1, 1, 1, 0, 0, 0])
})

test('long waits are slept through, and cost no asking', () => {
  expect(sleeps(new Array(5).fill(LONG))).toEqual([1, 1, 1, 1, 1])
  expect(sleeps(new Array(5).fill(POLL_MS_MAX * 1.5))).toEqual([1, 1, 1, 1, 1])
})

test('on a single processor it always sleeps', () => {
  expect(sleeps(new Array(5).fill(SHORT), 1)).toEqual([1, 1, 1, 1, 1])
})

test('what it is allowed to wait is the limit of asking too', () => {
  let now = 0
  const ring = {
    enter(waitMs: number): void {
      now += waitMs === 0 ? ASK_MS : Math.min(waitMs, SHORT)
    },
    available: 0,
  }
  const wait = new PollingWait(ring, () => now, 2)
  for (let count = 0; count < 6; count++) wait.enter(1000, 1)
  const before = now
  wait.enter(0.003, 1)
  expect(now - before).toBeLessThan(0.01)
})
