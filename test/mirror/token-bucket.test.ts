import { expect, it } from 'vitest'
import { TokenBucket } from '../../src/mirror/token-bucket.ts'

it('does not limit at a rate of 0', () => {
  const bucket = new TokenBucket()
  bucket.spend(1e12, 0)
  expect(bucket.delayMs(0)).toBe(0)
})

it('keeps the rate over any longer time, whatever the size of a piece', () => {
  for (const piece of [10, 1000, 100_000]) {
    const bucket = new TokenBucket()
    bucket.setRate(1_000_000, 0)
    let now = 0
    let spent = 0
    while (now < 10_000) {
      const delayMs = bucket.delayMs(now)
      if (delayMs > 0) now += delayMs
      bucket.spend(piece, now)
      spent += piece
    }
    const expected = 10_000_000
    expect(spent, `pieces of ${piece}`).toBeGreaterThanOrEqual(expected - piece)
    expect(spent, `pieces of ${piece}`).toBeLessThan(expected * 1.01 + 2 * piece)
  }
})

it('is not flooded after a pause', () => {
  const bucket = new TokenBucket()
  bucket.setRate(1000, 0)
  const now = 3_600_000
  bucket.spend(51, now)
  expect(bucket.delayMs(now)).toBeCloseTo(1)
})

it('lets a debt be paid at a rate that was changed meanwhile', () => {
  const bucket = new TokenBucket()
  bucket.setRate(1000, 0)
  bucket.spend(1000, 0)
  expect(bucket.delayMs(0)).toBeCloseTo(1000)
  bucket.setRate(10_000, 0)
  expect(bucket.delayMs(0)).toBeCloseTo(100)
  bucket.setRate(0, 0)
  expect(bucket.delayMs(0)).toBe(0)
})
