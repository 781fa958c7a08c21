import { expect, it } from 'vitest'
import { CLAIM_BYTES, Claims } from '../../src/mirror/claims.ts'

function drained(storage: Uint8Array): [number, number][] {
  const runs: [number, number][] = []
  new Claims(storage).drain((first, end) => runs.push([first, end]))
  return runs
}

it('whoever opens the storage finds what was claimed and not erased, once', () => {
  const storage = new Uint8Array(4 * CLAIM_BYTES)
  const claims = new Claims(storage)
  claims.record(0, 5, 9)
  claims.record(2, 0, 1)
  claims.record(3, 7, 8)
  claims.erase(2)
  expect(drained(storage)).toEqual([
    [5, 9],
    [7, 8],
  ])
  expect(drained(storage)).toEqual([])
})

it('a slot that was erased may be taken again, one that is taken may not', () => {
  const claims = new Claims(new Uint8Array(CLAIM_BYTES))
  claims.record(0, 1, 2)
  expect(() => claims.record(0, 3, 4)).toThrow('taken')
  claims.erase(0)
  claims.record(0, 3, 4)
  expect(() => claims.record(1, 3, 4)).toThrow('taken')
})
