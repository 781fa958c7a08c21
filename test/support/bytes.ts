/**
 * Comparison of contents: says where two differ first, and is fast where a structural comparison is
 * not.
 */
import assert from 'node:assert/strict'

export function expectBytes(actual: Uint8Array, expected: Uint8Array): void {
  assert.equal(actual.length, expected.length, 'lengths differ')
  if (Buffer.compare(actual, expected) === 0) return
  const at = actual.findIndex((byte, index) => byte !== expected[index])
  assert.fail(`byte ${at} of ${actual.length} is ${actual[at]}, expected ${expected[at]}`)
}

/** All zero. */
export function expectZeroes(actual: Uint8Array): void {
  expectBytes(actual, new Uint8Array(actual.length))
}
