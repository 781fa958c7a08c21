/** Collects what one scenario measures, in the order in which it comes. */
import { Histogram } from './histogram.ts'
import type { MetricName } from './metrics.ts'
import type { DirtyPlot, LatencyPlot, Row } from './results.ts'
import type { SubjectName } from './subjects.ts'

interface Collected {
  readonly case: string
  readonly metric: MetricName
  readonly samples: Record<string, number[]>
}

export class Recorder {
  readonly #rows = new Map<string, Collected>()
  readonly #histograms = new Map<string, Map<SubjectName, Histogram>>()
  readonly #dirty = new Map<string, Record<string, (readonly [number, number])[]>>()
  readonly #notes = new Set<string>()

  /** A sample more; those of one repetition must come in the same place for every subject. */
  add(name: string, metric: MetricName, subject: SubjectName, value: number): void {
    const key = `${name}\0${metric}`
    const row = this.#rows.get(key) ?? { case: name, metric, samples: {} }
    this.#rows.set(key, row)
    row.samples[subject] ??= []
    row.samples[subject].push(value)
  }

  /** Latencies of one repetition, added to those of the others. */
  addLatencies(name: string, subject: SubjectName, latencies: Histogram): void {
    const bySubject = this.#histograms.get(name) ?? new Map<SubjectName, Histogram>()
    this.#histograms.set(name, bySubject)
    const sum = bySubject.get(subject) ?? new Histogram()
    bySubject.set(subject, sum)
    sum.addAll(latencies)
  }

  /** The course of one repetition; the first one is kept. */
  setDirty(
    name: string,
    subject: SubjectName,
    points: readonly (readonly [ms: number, bytes: number])[],
  ): void {
    const lines = this.#dirty.get(name) ?? {}
    this.#dirty.set(name, lines)
    lines[subject] ??= [...points]
  }

  note(sentence: string): void {
    this.#notes.add(sentence)
  }

  get rows(): Row[] {
    return [...this.#rows.values()]
  }

  get latencies(): LatencyPlot[] {
    return [...this.#histograms].map(([name, bySubject]) => ({
      case: name,
      curves: Object.fromEntries([...bySubject].map(([subject, sum]) => [subject, sum.curve()])),
    }))
  }

  get dirty(): DirtyPlot[] {
    return [...this.#dirty].map(([name, lines]) => ({ case: name, lines }))
  }

  get notes(): string[] {
    return [...this.#notes]
  }
}
