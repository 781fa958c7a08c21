import { describe, expect, it } from 'vitest'
import {
  CONVERGENCE_LIMITS,
  COPY_MODES,
  type CopyMode,
  type CopyModeChoice,
  decide,
  type Measurements,
  stallPauseMs,
} from '../../src/mirror/convergence.ts'

const MIB = 1024 * 1024
const CHOICES: readonly CopyModeChoice[] = ['auto', ...COPY_MODES]
const CALM: Measurements = {
  choice: 'auto',
  mode: 'background',
  isReady: false,
  remainingBytes: 1024 * MIB,
  isSynced: false,
  copyRate: 100 * MIB,
  dirtyRate: 0,
  pass: 1,
  isTargetLate: false,
  stallsInARow: 0,
  sinceStallMs: Infinity,
}

/** Every combination of what can be measured, roughly. */
function* everything(): Generator<Measurements> {
  for (const choice of CHOICES)
    for (const mode of COPY_MODES)
      for (const remainingBytes of [0, 1, MIB, 64 * MIB, 1e12])
        for (const isBackgroundIdle of [true, false])
          for (const copyRate of [0, 1, 100 * MIB])
            for (const dirtyRate of [0, 60 * MIB, 1e9])
              for (const pass of [1, 2, 100])
                for (const isTargetLate of [true, false])
                  for (const stallsInARow of [0, 1, 50])
                    for (const sinceStallMs of [0, 1e9])
                      for (const isReady of [true, false]) {
                        const isSynced = remainingBytes === 0 && isBackgroundIdle
                        const rates = { copyRate, dirtyRate, pass, remainingBytes, isSynced }
                        const stalls = { isTargetLate, stallsInARow, sinceStallMs }
                        yield { choice, mode, isReady, ...rates, ...stalls }
                      }
}

describe('convergence, whatever is measured,', () => {
  it('never calls a write-blocking mirror ready that is not in sync', () => {
    for (const now of everything()) {
      if (now.mode === 'write-blocking' && !now.isSynced) expect(decide(now)).not.toBe('ready')
    }
  })

  it(
    'calls a mirror ready in background mode only when little is left ' + 'and the target answers',
    () => {
      for (const now of everything()) {
        if (now.mode === 'write-blocking' || decide(now) !== 'ready') continue
        expect(now.remainingBytes).toBeLessThanOrEqual(64 * MIB)
        // Elsewhere only a pause after a failure makes do with that.
        if (now.choice !== 'background') expect(now.sinceStallMs).toBe(0)
        if (now.choice !== 'background') expect(now.isTargetLate).toBe(false)
      }
    },
  )

  it('never goes against the choice of the operator', () => {
    for (const now of everything()) {
      if (now.choice === 'background') expect(decide(now)).not.toBe('write-blocking')
      else expect(decide(now)).not.toBe('background')
    }
  })

  it('never goes write-blocking while the target is late or just after a stall', () => {
    for (const now of everything()) {
      const isPausing = now.stallsInARow > 0 && now.sinceStallMs === 0
      if (now.isTargetLate || isPausing) expect(decide(now)).not.toBe('write-blocking')
    }
  })

  it('changes to no mode that is in force', () => {
    for (const now of everything()) expect(decide(now)).not.toBe(now.mode)
  })
})

describe('in auto', () => {
  it.each<[string, Partial<Measurements>, string]>([
    ['a first pass is made in background mode', { dirtyRate: 1e9 }, 'continue'],
    ['little that is left ends it', { remainingBytes: 8 * MIB }, 'write-blocking'],
    ['a second of copying that is left ends it', { remainingBytes: 99 * MIB }, 'write-blocking'],
    [
      'a writer that keeps up with half the rate ends it',
      { pass: 2, dirtyRate: 51 * MIB },
      'write-blocking',
    ],
    ['a slower writer does not', { pass: 2, dirtyRate: 49 * MIB }, 'continue'],
    ['many passes end it', { pass: CONVERGENCE_LIMITS.passesMax + 1 }, 'write-blocking'],
  ])('%s', (_, change, decision) => {
    expect(decide({ ...CALM, ...change })).toBe(decision)
  })

  it('pauses twice as long after each stall in a row, but not for ever', () => {
    const pauses = [1, 2, 3, 100].map(count => stallPauseMs(count, CONVERGENCE_LIMITS))
    expect(pauses).toEqual([500, 1000, 2000, 30_000])
  })

  it.each([0, 10, 50, 99, 200, 5000])('converges against a writer of %i MiB/s', writeRate => {
    expect(secondsUntilReady(writeRate * MIB)).toBeLessThan(120)
  })
})

/** A mirror as a fluid: what is written in background mode is dirty, at most all of the disk. */
function secondsUntilReady(writeRate: number): number {
  const size = 4096 * MIB
  const copyRate = 100 * MIB
  let mode: CopyMode = 'background'
  let remainingBytes = size
  let left = size
  let pass = 1
  for (let second = 0; second < 1000; second++) {
    const dirtyRate = mode === 'background' ? writeRate : 0
    const isSynced = remainingBytes === 0 && mode === 'write-blocking'
    const now = { ...CALM, mode, remainingBytes, isSynced, copyRate, dirtyRate, pass }
    const decision = decide(now)
    if (decision === 'ready') return second
    if (decision === 'background' || decision === 'write-blocking') mode = decision
    remainingBytes = Math.max(0, Math.min(size, remainingBytes + dirtyRate) - copyRate)
    left -= copyRate
    if (left <= 0) {
      pass++
      left = remainingBytes
    }
  }
  return Infinity
}

describe('in background mode by choice', () => {
  const calm: Measurements = { ...CALM, choice: 'background' }

  it('a tenth of a second that is left is ready', () => {
    expect(decide({ ...calm, remainingBytes: 10 * MIB })).toBe('ready')
    expect(decide({ ...calm, remainingBytes: 11 * MIB })).toBe('continue')
  })

  it('it takes more to cease to be ready', () => {
    expect(decide({ ...calm, isReady: true, remainingBytes: 40 * MIB })).toBe('ready')
    expect(decide({ ...calm, isReady: true, remainingBytes: 41 * MIB })).toBe('continue')
  })
})
