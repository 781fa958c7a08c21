/**
 * What a part of the benchmark has started or made, undone in the opposite order on whatever way it
 * ends. Every part has one of its own, so that nothing it started disturbs the next one.
 */
export class Cleanup implements AsyncDisposable {
  readonly #steps: (() => Promise<void> | void)[] = []

  defer(step: () => Promise<void> | void): void {
    this.#steps.push(step)
  }

  /** Keeps `resource` until the end of this scope. */
  use<T extends AsyncDisposable>(resource: T): T {
    this.defer(async () => await resource[Symbol.asyncDispose]())
    return resource
  }

  /** Every step runs once, also after another has failed; rejects with the first failure. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = []
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
