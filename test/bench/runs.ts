/** Small runs made up for tests, complete in every field. */
import type { Row, Run, ScenarioResult } from '../../src/bench/results.ts'

export function scenarioOf(name: string, rows: readonly Row[]): ScenarioResult {
  return {
    name,
    title: `Title of ${name}`,
    shows: 'What it shows.',
    doesNotShow: 'What it <does> not show.',
    plotted: 'iops',
    repetitions: 3,
    elapsedMs: 1000,
    rows,
    latencies: [],
    dirty: [],
    notes: [],
    fault: null,
  }
}

export function runOf(scenarios: readonly ScenarioResult[]): Run {
  return {
    format: 'blkferry-bench',
    version: 1,
    startedAt: '2026-01-02T03:04:05.678Z',
    quick: true,
    elapsedMs: 61_000,
    environment: {
      cpu: 'A CPU',
      cores: 2,
      memoryBytes: 2 ** 30,
      kernel: '6.1.0',
      engine: 'uring',
      loadAverage: [0.1, 0.2, 0.3],
      versions: { blkferry: '0.1.0' },
    },
    noise: { probes: 100, slowdown: 1.02, loadPerCoreBefore: 0.05, complaints: [] },
    scenarios,
  }
}

/** `row('read QD32', 'iops', { blkferry: [1, 2, 3] })`. */
export function row(name: string, metric: Row['metric'], samples: Row['samples']): Row {
  return { case: name, metric, samples }
}
