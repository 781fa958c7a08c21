/**
 * The control thread's handle on the data thread: starts it, calls it, and tells when it ends. The
 * data thread blocks in the kernel but watches its event loop, so a posted message wakes it.
 */
import { Worker } from 'node:worker_threads'
import type { ControlCalls, DataCalls } from './calls.ts'
import { ThreadLink } from './thread-link.ts'

/** Heap of the data thread (MiB): it holds pools, not payloads. */
const HEAP_MIB_MAX = 64

export class DataThread {
  readonly #worker: Worker
  readonly #link: ThreadLink<ControlCalls, DataCalls>
  /** Settles when the thread has ended; rejects if it was not asked to. */
  readonly ended: Promise<void>
  #isStopping = false
  #hasEnded = false

  constructor(offered: ControlCalls) {
    this.#worker = new Worker(new URL('./data-thread-main.js', import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX },
    })
    this.#link = new ThreadLink(this.#worker, offered)
    this.ended = new Promise((resolve, reject) => {
      let failure: { readonly error: unknown } | undefined
      this.#worker.on('error', error => {
        failure = { error }
      })
      this.#worker.on('exit', () => {
        this.#hasEnded = true
        const reason =
          failure === undefined ? new Error('the data thread has ended') : failed(failure)
        this.#link.end(reason)
        if (failure === undefined && this.#isStopping) resolve()
        else reject(reason)
      })
    })
    // The owner awaits `ended` later; until then a failure must not count as unhandled.
    this.ended.catch(() => {})
  }

  call<Name extends keyof DataCalls & string>(
    name: Name,
    argument: Parameters<DataCalls[Name]>[0],
  ): Promise<Awaited<ReturnType<DataCalls[Name]>>> {
    return this.#link.call(name, argument)
  }

  /**
   * Finishes what is under way within the deadline, then ends the thread. Of one that has failed
   * there is nothing left to stop.
   */
  async stop(deadlineMs: number): Promise<void> {
    if (this.#hasEnded) return
    if (this.#isStopping) return this.ended
    this.#isStopping = true
    try {
      await this.#link.call('stop', { deadlineMs })
    } finally {
      await this.#worker.terminate()
    }
    await this.ended
  }
}

function failed({ error }: { readonly error: unknown }): Error {
  const message = error instanceof Error ? error.message : String(error)
  return new Error(`the data thread failed: ${message}`, { cause: error })
}
