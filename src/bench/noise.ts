/**
 * How quiet the machine was. A fixed piece of work is timed between the measurements, when
 * everything that the benchmark has started is idle: what slows it down is somebody else.
 */
import { performance } from 'node:perf_hooks'
import { quantile } from './statistics.ts'

/** About 5 ms of a present-day core. */
const PROBE_STEPS = 4_000_000
/** At least so many probes before the ratio means something. */
const PROBES_MIN = 5
const SLOWDOWN_MAX = 1.25
const LOAD_PER_CORE_MAX = 0.5

export interface Noise {
  readonly probes: number
  /** The upper quartile of the probes' times, as a multiple of the least. */
  readonly slowdown: number
  /** Load average over one minute before the run, per core. */
  readonly loadPerCoreBefore: number
  /** Nothing to complain about, or why the numbers are to be distrusted. */
  readonly complaints: readonly string[]
}

export class NoiseProbe {
  readonly #times: number[] = []

  /** Takes about 5 ms, in this thread. */
  probe(): void {
    const started = performance.now()
    let value = 1
    for (let step = 0; step < PROBE_STEPS; step += 1) value = (value * 1103515245 + 12345) | 0
    const elapsed = performance.now() - started
    // The value decides, so that the loop cannot be left out.
    this.#times.push(value === 0 ? Number.NaN : elapsed)
  }

  noise(loadPerCoreBefore: number): Noise {
    // The first ones run before the loop is compiled.
    return judgeNoise(this.#times.slice(2), loadPerCoreBefore)
  }
}

/** Pure: from the probes' times in milliseconds. */
export function judgeNoise(times: readonly number[], loadPerCoreBefore: number): Noise {
  const isEnough = times.length >= PROBES_MIN
  const slowdown = isEnough ? quantile(times, 0.75) / Math.min(...times) : 1
  const complaints: string[] = []
  if (slowdown > SLOWDOWN_MAX) {
    complaints.push(
      `a fixed piece of work took ${slowdown.toFixed(2)} times its best ` +
        'or longer in a quarter of all tries',
    )
  }
  if (loadPerCoreBefore > LOAD_PER_CORE_MAX) {
    complaints.push(`the load average was ${loadPerCoreBefore.toFixed(2)} per core before the run`)
  }
  return { probes: times.length, slowdown, loadPerCoreBefore, complaints }
}
