/**
 * What a scenario is, and what it may use. It measures and records; it prints nothing and judges
 * nothing. Everything that it starts or makes belongs to its scope.
 */
import type { Cleanup } from './cleanup.ts'
import type { Tool } from './environment.ts'
import type { MetricName } from './metrics.ts'
import type { Plan } from './plan.ts'
import type { Recorder } from './recorder.ts'

export interface Bench {
  readonly plan: Plan
  /** On tmpfs unless the user said otherwise; empty at the start of a scenario. */
  readonly folder: string
  /** On a real disk, for what tmpfs cannot show. */
  readonly diskFolder: string
  readonly scope: Cleanup
  readonly record: Recorder
  /** Says what is being measured, and times the noise probe: called before every measurement. */
  step(what: string): void
  /** Rejects when the user has had enough. */
  checkSignal(): void
}

export interface Scenario {
  readonly name: string
  readonly title: string
  /** What it measures, one sentence. */
  readonly shows: string
  /** What nobody should conclude from it, one sentence. */
  readonly doesNotShow: string
  /** What the page draws as bars. */
  readonly plotted: MetricName
  readonly needs: readonly (Tool | 'root')[]
  repetitions(plan: Plan): number
  run(bench: Bench): Promise<void>
}

/**
 * Every subject once a repetition, one right after the other, each repetition beginning with
 * another one: drifts of the machine fall on all alike.
 */
export async function interleave<S extends string>(
  bench: Bench,
  what: string,
  subjects: readonly S[],
  repetitions: number,
  run: (subject: S, repetition: number) => Promise<void>,
): Promise<void> {
  for (let repetition = 0; repetition < repetitions; repetition += 1) {
    for (let turn = 0; turn < subjects.length; turn += 1) {
      const subject = subjects[(repetition + turn) % subjects.length]!
      bench.checkSignal()
      bench.step(`${what}, ${subject}, ${repetition + 1} of ${repetitions}`)
      await run(subject, repetition)
    }
  }
}
