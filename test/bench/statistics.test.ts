/** Medians, ratios and histograms, on numbers whose answers are known. */
import { describe, expect, test } from 'vitest'
import { Histogram } from '../../src/bench/histogram.ts'
import { median, quantile, ratio, summarize } from '../../src/bench/statistics.ts'

describe('statistics', () => {
  test('a quantile lies between its neighbours in proportion, whatever the order', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5)
    expect(quantile([10, 0], 0.25)).toBe(2.5)
    expect(quantile([7], 0.99)).toBe(7)
    expect(quantile([3, 1, 2], 0)).toBe(1)
    expect(quantile([3, 1, 2], 1)).toBe(3)
    expect(median([5, 1, 9])).toBe(5)
  })

  test('no samples, and a share outside 0 to 1, are refused', () => {
    expect(() => median([])).toThrow()
    expect(() => quantile([1], 1.1)).toThrow()
  })

  test('a summary is median and range', () => {
    expect(summarize([5, 1, 9])).toEqual({ median: 5, low: 1, high: 9, count: 3 })
  })

  test('a ratio is taken repetition by repetition, so that drifts cancel out', () => {
    // The machine became ten times faster; we were always twice as fast.
    expect(ratio([2, 20], [1, 10])).toEqual({ median: 2, low: 2, high: 2, count: 2 })
  })

  test('with unequal counts the ratio is to the median', () => {
    expect(ratio([2, 4], [1, 2, 3])?.median).toBe(1.5)
  })

  test('there is no ratio to nothing, or to zero', () => {
    expect(ratio(undefined, [1])).toBeUndefined()
    expect(ratio([1], [])).toBeUndefined()
    expect(ratio([1], [0])).toBeUndefined()
  })
})

describe('histogram', () => {
  test('a percentile is the least value that so many do not exceed', () => {
    const histogram = new Histogram()
    for (let value = 1; value <= 100; value += 1) histogram.add(value * 1000)
    expect(histogram.microseconds(0.5)).toBe(50)
    expect(histogram.microseconds(0.99)).toBe(99)
    expect(histogram.microseconds(1)).toBe(100)
  })

  test('adding histograms keeps the tail that a median of percentiles would lose', () => {
    const [sum, rare] = [new Histogram(), new Histogram()]
    sum.add(1000, 999)
    rare.add(5_000_000)
    sum.addAll(rare)
    expect(sum.total).toBe(1000)
    expect(sum.microseconds(1)).toBe(5000)
  })

  test('the curve leaves out shares that not one request stands for', () => {
    const histogram = new Histogram()
    histogram.add(2000, 10)
    const shares = histogram.curve().map(([share]) => share)
    expect(shares).toContain(0.9)
    expect(shares).not.toContain(0.99)
    expect(histogram.curve().at(-1)?.[1]).toBe(2)
    expect(Math.max(...shares)).toBeLessThan(1)
  })

  test('an empty histogram has no percentile', () => {
    expect(new Histogram().microseconds(0.5)).toBeNaN()
  })
})
