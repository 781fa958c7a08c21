/** What a demo has started or made, undone in the opposite order on whatever way it ends. */
export class Cleanup {
  readonly #steps: (() => Promise<void>)[] = []

  defer(step: () => Promise<void>): void {
    this.#steps.push(step)
  }

  /** Every step runs once, also after another has failed; rejects with what failed. */
  async run(): Promise<void> {
    const failures: unknown[] = []
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      await step().catch(error => failures.push(error))
    }
    if (failures.length > 0) throw new AggregateError(failures, `clean-up failed: ${failures[0]}`)
  }
}
