/** What is taken for a failure of a proxy, and what is not. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import {
  type Ailment,
  ANSWER_MS_MAX,
  COMPUTED_MS_MAX,
  Health,
  LOOK_INTERVAL_MS,
  STARVED_MS_MAX,
  STOPPED_MS_MAX,
} from '../../src/chain/health.ts'
import type { ProcessWork } from '../../src/chain/process-work.ts'
import type { ServeStatus } from '../../src/control/status.ts'
import { serveSample } from '../control/samples.ts'

const healthy: ServeStatus = { ...serveSample, requests: { ...serveSample.requests, errors: 0 } }
const IDLE: ProcessWork = { isBusy: false, isStopped: false, computedMs: 0 }
const never = new Promise<ServeStatus>(() => {})

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
})

interface Proxy {
  readonly status?: () => Promise<ServeStatus>
  readonly work?: () => ProcessWork
  readonly isPathFailed?: boolean
  readonly isBypassed?: () => Promise<boolean>
}

/** What is said of such a proxy after `ms` of looking at it. */
async function after(ms: number, proxy: Proxy): Promise<readonly Ailment[]> {
  const told: Ailment[] = []
  new Health({
    status: proxy.status ?? (async () => healthy),
    work: proxy.work ?? (() => IDLE),
    hasFailedPath: async () => proxy.isPathFailed ?? false,
    isBypassed: proxy.isBypassed ?? (async () => false),
    ails: ailment => told.push(ailment),
  })
  await vi.advanceTimersByTimeAsync(ms)
  return told
}

const FIRST_ANSWER = LOOK_INTERVAL_MS + ANSWER_MS_MAX

test('a proxy that answers is well', async () => {
  expect(await after(10 * FIRST_ANSWER, {})).toEqual([])
})

test('a proxy that is silent for a second hangs, and is told of once', async () => {
  expect(await after(FIRST_ANSWER - 1, { status: () => never })).toEqual([])
  expect(await after(10 * FIRST_ANSWER, { status: () => never })).toEqual(['hung'])
})

test('a silent proxy that was stopped has half of that', async () => {
  const stopped = { status: () => never, work: (): ProcessWork => ({ ...IDLE, isStopped: true }) }
  expect(await after(LOOK_INTERVAL_MS + STOPPED_MS_MAX - 1, stopped)).toEqual([])
  expect(await after(LOOK_INTERVAL_MS + STOPPED_MS_MAX, stopped)).toEqual(['hung'])
})

test('a silent proxy that wants a processor has longer', async () => {
  const work = (): ProcessWork => ({ ...IDLE, isBusy: true })
  const starved = { status: () => never, work }
  expect(await after(LOOK_INTERVAL_MS + STARVED_MS_MAX - 1, starved)).toEqual([])
  expect(await after(LOOK_INTERVAL_MS + STARVED_MS_MAX, starved)).toEqual(['hung'])
})

test('a silent proxy that computes all the time has little longer', async () => {
  const began = performance.now()
  const work = (): ProcessWork => ({
    ...IDLE,
    isBusy: true,
    computedMs: performance.now() - began,
  })
  const looping = { status: () => never, work }
  expect(await after(LOOK_INTERVAL_MS + COMPUTED_MS_MAX - 1, looping)).toEqual([])
  expect(await after(LOOK_INTERVAL_MS + COMPUTED_MS_MAX, looping)).toEqual(['hung'])
})

test('many threads that compute do not make the time shorter', async () => {
  const began = performance.now()
  const work = (): ProcessWork => ({
    ...IDLE,
    isBusy: true,
    computedMs: 16 * (performance.now() - began),
  })
  const serving = { status: () => never, work }
  expect(await after(LOOK_INTERVAL_MS + COMPUTED_MS_MAX - 1, serving)).toEqual([])
})

test('a proxy whose connection has closed is told of at once', async () => {
  const status = async (): Promise<ServeStatus> => {
    throw new Error('closed')
  }
  expect(await after(LOOK_INTERVAL_MS, { status })).toEqual(['silent'])
})

test('a failed path is the disk where the proxy has seen errors, else the connection', async () => {
  const failing = { ...healthy, requests: { ...healthy.requests, errors: 1 } }
  const onDisk = { status: async () => failing, isPathFailed: true }
  expect(await after(LOOK_INTERVAL_MS, onDisk)).toEqual(['disk error'])
  expect(await after(LOOK_INTERVAL_MS, { isPathFailed: true })).toEqual(['path'])
})

test('a proxy that the guest writes past is told of once', async () => {
  const isBypassed = async (): Promise<boolean> => true
  expect(await after(10 * LOOK_INTERVAL_MS, { isBypassed })).toEqual(['bypassed'])
})

test('a kernel that does not say whether it does is no reason', async () => {
  const isBypassed = async (): Promise<boolean> => {
    throw new Error('no answer')
  }
  expect(await after(10 * LOOK_INTERVAL_MS, { isBypassed })).toEqual([])
})
