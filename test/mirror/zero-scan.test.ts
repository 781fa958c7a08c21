import { expect, it } from 'vitest'
import { isZero } from '../../src/mirror/zero-scan.ts'

const memory = (bytes: Uint8Array) => ({ bytes, address: 0 })

it('finds one byte anywhere, at any alignment and length', () => {
  const backing = new Uint8Array(64)
  for (let start = 0; start < 9; start++) {
    for (let length = 1; length < 40; length++) {
      const bytes = backing.subarray(start)
      expect(isZero(memory(bytes), 3, length)).toBe(true)
      for (let at = 0; at < length; at++) {
        bytes[3 + at] = 1
        if (isZero(memory(bytes), 3, length)) throw new Error(`${start} ${length} ${at}`)
        bytes[3 + at] = 0
      }
    }
  }
})

it('does not look beyond the range', () => {
  const bytes = new Uint8Array(32).fill(1)
  bytes.fill(0, 5, 20)
  expect(isZero(memory(bytes), 5, 15)).toBe(true)
  expect(isZero(memory(bytes), 4, 15)).toBe(false)
  expect(isZero(memory(bytes), 6, 15)).toBe(false)
})

it('does not take the bits of -0 for zero', () => {
  const numbers = new Float64Array(4)
  numbers[2] = -0
  expect(isZero(memory(new Uint8Array(numbers.buffer)), 0, 32)).toBe(false)
})
