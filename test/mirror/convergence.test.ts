import { describe, expect, it } from 'vitest'
import {
  CONVERGENCE_LIMITS,
  COPY_MODES,
  decide,
  type Measurements,
  stallPauseMs,
} from '../../src/mirror/convergence.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB

const QUIET: Measurements = {
  choice: 'auto',
  mode: 'background',
  isReady: false,
  remainingBytes: 10 * GIB,
  isSynced: false,
  copyRate: 100 * MIB,
  dirtyRate: 0,
  pass: 1,
  isTargetLate: false,
  stallsInARow: 0,
  sinceStallMs: Infinity,
}

const given = (changes: Partial<Measurements>) => decide({ ...QUIET, ...changes })

describe('in every combination', () => {
  const all: Measurements[] = []
  for (const choice of ['auto', ...COPY_MODES] as const)
    for (const mode of COPY_MODES)
      for (const isReady of [false, true])
        for (const remainingBytes of [0, 2 * MIB, 9 * MIB, 10 * GIB])
          for (const copyRate of [0, 100 * MIB])
            for (const dirtyRate of [0, 60 * MIB, GIB])
              for (const pass of [1, 2, 6])
                for (const isTargetLate of [false, true])
                  for (const stallsInARow of [0, 1, 9])
                    for (const sinceStallMs of [0, 600, Infinity]) {
                      const rates = { copyRate, dirtyRate, pass }
                      const stalls = { isTargetLate, stallsInARow, sinceStallMs }
                      const isSynced = remainingBytes === 0
                      const left = { remainingBytes, isSynced, isReady }
                      all.push({ choice, mode, ...left, ...rates, ...stalls })
                    }

  const each = (check: (now: Measurements, decision: string) => boolean) =>
    expect(all.filter(now => !check(now, decide(now)))).toEqual([])

  it('a mode is chosen only when it is allowed and not in force', () =>
    each(({ choice, mode }, decision) => {
      if (decision === 'background') return choice === 'background' && mode !== 'background'
      if (decision === 'write-blocking') return choice !== 'background' && mode === 'background'
      return true
    }))

  it('write-blocking is not taken up while the target is late or a pause lasts', () =>
    each(({ isTargetLate, sinceStallMs, stallsInARow }, decision) => {
      const isPausing = sinceStallMs < stallPauseMs(stallsInARow, CONVERGENCE_LIMITS)
      return decision !== 'write-blocking' || (!isTargetLate && !isPausing)
    }))

  it('write-blocking mode is ready exactly when all is equal', () =>
    each(
      ({ choice, mode, isSynced }, decision) =>
        mode !== 'write-blocking' || choice === 'background' || (decision === 'ready') === isSynced,
    ))

  it('a switchover with much left is never called short', () =>
    each(({ remainingBytes }, decision) => decision !== 'ready' || remainingBytes < GIB))

  it('auto ends up in write-blocking whatever the guest does, if the target is sound', () =>
    each(
      ({ choice, mode, pass, isTargetLate, stallsInARow }, decision) =>
        choice !== 'auto' ||
        mode !== 'background' ||
        pass <= CONVERGENCE_LIMITS.passesMax ||
        isTargetLate ||
        stallsInARow > 0 ||
        decision === 'write-blocking',
    ))
})

it('auto spares the guest the network while that pays', () => {
  expect(given({})).toBe('continue')
  expect(given({ pass: 2, dirtyRate: 10 * MIB })).toBe('continue')
  expect(given({ remainingBytes: 90 * MIB })).toBe('write-blocking')
  expect(given({ remainingBytes: 8 * MIB, copyRate: 0 })).toBe('write-blocking')
  expect(given({ pass: 6 })).toBe('write-blocking')
})

it('auto does not wait for passes that a fast writer undoes', () => {
  expect(given({ dirtyRate: 60 * MIB })).toBe('continue')
  expect(given({ dirtyRate: 60 * MIB, pass: 2 })).toBe('write-blocking')
})

it('a mode that the operator chose is taken up at once', () => {
  expect(given({ choice: 'write-blocking' })).toBe('write-blocking')
  expect(given({ choice: 'background', mode: 'write-blocking' })).toBe('background')
})

it('background is ready when little is left, and stays so while a little more is', () => {
  const choice = 'background'
  expect(given({ choice, remainingBytes: MIB, copyRate: 0 })).toBe('ready')
  expect(given({ choice, remainingBytes: 10 * MIB })).toBe('ready')
  expect(given({ choice, remainingBytes: 11 * MIB })).toBe('continue')
  expect(given({ choice, remainingBytes: 11 * MIB, isReady: true })).toBe('ready')
  expect(given({ choice, remainingBytes: 41 * MIB, isReady: true })).toBe('continue')
})

it('pauses after stalls double up to a limit', () => {
  const pauses = [0, 1, 2, 3, 6, 7, 8, 60].map(count => stallPauseMs(count, CONVERGENCE_LIMITS))
  expect(pauses).toEqual([0, 500, 1000, 2000, 16_000, 30_000, 30_000, 30_000])
})
