/**
 * The few statistics that the benchmark reports, as pure functions. Medians and ranges rather than
 * means and deviations: on a shared machine the noise has one side only.
 */
import assert from 'node:assert/strict'

export interface Summary {
  readonly median: number
  readonly low: number
  readonly high: number
  readonly count: number
}

/**
 * The value below which the share `q` (0 to 1) of `samples` lies, between two neighbours in
 * proportion. The samples may be in any order, and must not be none.
 */
export function quantile(samples: readonly number[], q: number): number {
  assert(samples.length > 0 && q >= 0 && q <= 1, 'statistics: samples, and a share from 0 to 1')
  const sorted = samples.toSorted((a, b) => a - b)
  const at = q * (sorted.length - 1)
  const below = sorted[Math.floor(at)]!
  const above = sorted[Math.ceil(at)]!
  return below + (above - below) * (at - Math.floor(at))
}

export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5)
}

/** Median and range; of one sample all three are the same. */
export function summarize(samples: readonly number[]): Summary {
  const low = Math.min(...samples)
  return { median: median(samples), low, high: Math.max(...samples), count: samples.length }
}

/**
 * How often `samples` is `reference`. Repetition by repetition where there are as many of both: two
 * measurements next to each other in time share the machine's mood, which a ratio then cancels.
 * Undefined where there is nothing to divide, or to divide by.
 */
export function ratio(
  samples: readonly number[] | undefined,
  reference: readonly number[] | undefined,
): Summary | undefined {
  if (samples === undefined || reference === undefined) return undefined
  if (samples.length === 0 || reference.length === 0) return undefined
  const ratios =
    samples.length === reference.length
      ? samples.map((sample, index) => sample / reference[index]!)
      : samples.map(sample => sample / median(reference))
  return ratios.every(Number.isFinite) ? summarize(ratios) : undefined
}
