/**
 * What has been set up so far and must be taken down in the opposite order. A step that fails does
 * not keep the others from running.
 */
export class Cleanup {
  readonly #steps: (() => Promise<void>)[] = []

  defer(step: () => Promise<void>): void {
    this.#steps.push(step)
  }

  /** Runs every step once. Rejects with the first failure, after all have run. */
  async run(): Promise<void> {
    const failures: unknown[] = []
    for (;;) {
      const step = this.#steps.pop()
      if (step === undefined) break
      try {
        await step()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
