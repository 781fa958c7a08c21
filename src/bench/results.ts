/**
 * What a run measured: plain data, stored as JSON, from which tables, page, marks and comparison
 * are all made. Nothing here is derived from anything else here, so a stored run can be rendered
 * again.
 */
import { readFile } from 'node:fs/promises'
import { UsageError } from '../cli/exit-codes.ts'
import type { Environment } from './environment.ts'
import type { CurvePoint } from './histogram.ts'
import type { MetricName } from './metrics.ts'
import type { Noise } from './noise.ts'

export const FORMAT = 'blkferry-bench'
export const FORMAT_VERSION = 1

/** One case, one metric: a sample per repetition for each subject that could be measured. */
export interface Row {
  readonly case: string
  readonly metric: MetricName
  readonly samples: Readonly<Record<string, readonly number[]>>
}

/** Latencies of one case over all repetitions, a curve per subject. */
export interface LatencyPlot {
  readonly case: string
  readonly curves: Readonly<Record<string, readonly CurvePoint[]>>
}

/** Dirty bytes over time in one repetition: milliseconds since the mirror's start, and bytes. */
export interface DirtyPlot {
  readonly case: string
  readonly lines: Readonly<Record<string, readonly (readonly [ms: number, bytes: number])[]>>
}

export interface ScenarioResult {
  readonly name: string
  readonly title: string
  readonly shows: string
  readonly doesNotShow: string
  /** What the bars show. */
  readonly plotted: MetricName
  readonly repetitions: number
  readonly elapsedMs: number
  readonly rows: readonly Row[]
  readonly latencies: readonly LatencyPlot[]
  readonly dirty: readonly DirtyPlot[]
  /** What must be known to read the numbers, a sentence each. */
  readonly notes: readonly string[]
  /** Why it was left out or broke off, or null. */
  readonly fault: string | null
}

export interface Run {
  readonly format: typeof FORMAT
  readonly version: typeof FORMAT_VERSION
  /** ISO 8601. */
  readonly startedAt: string
  readonly quick: boolean
  readonly elapsedMs: number
  readonly environment: Environment
  readonly noise: Noise
  readonly scenarios: readonly ScenarioResult[]
}

/** Reads a stored run. Throws `UsageError` if it is none, or one of another version. */
export async function readRun(path: string): Promise<Run> {
  const text = await readFile(path, 'utf8').catch((error: Error) => {
    throw new UsageError(`cannot read the stored run: ${error.message}`)
  })
  let run: Partial<Run>
  try {
    run = JSON.parse(text) as Partial<Run>
  } catch {
    throw new UsageError(`${path} is not JSON: give a file that --json wrote`)
  }
  if (run?.format !== FORMAT) throw new UsageError(`${path} is no run: give a file of --json`)
  if (run.version !== FORMAT_VERSION) {
    throw new UsageError(`${path} has version ${run.version}, not ${FORMAT_VERSION}: measure again`)
  }
  return run as Run
}

export function findRow(
  scenarios: readonly ScenarioResult[],
  at: { readonly scenario: string; readonly case: string; readonly metric: MetricName },
): Row | undefined {
  const rows = scenarios.find(({ name }) => name === at.scenario)?.rows
  return rows?.find(row => row.case === at.case && row.metric === at.metric)
}
