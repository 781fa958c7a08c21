/** One at a time for each key: a second caller waits until the first has settled. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>()

  async take<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve()
    const mine = before.then(work, work)
    const settled = mine.then(
      () => {},
      () => {},
    )
    this.#last.set(key, settled)
    try {
      return await mine
    } finally {
      if (this.#last.get(key) === settled) this.#last.delete(key)
    }
  }
}

/** Rejects with `late()` after the time; the work itself goes on. */
export async function within<T>(
  timeoutMs: number,
  work: Promise<T>,
  late: () => Error,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const expired = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(late()), timeoutMs)
  })
  try {
    return await Promise.race([work, expired])
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Settles when all of them have, and then rejects with the reason of the first that failed: what
 * follows never runs beside one that is still under way.
 */
export async function settleAll(work: readonly Promise<void>[]): Promise<void> {
  const settled = await Promise.allSettled(work)
  const failed = settled.find(one => one.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

/**
 * Does the work when asked, once at a time, and once more if it was asked for meanwhile. The work
 * does not reject.
 */
export function oneAtATime(work: () => Promise<void>): () => void {
  let isUnderWay = false
  let isWanted = false
  return () => {
    isWanted = true
    if (isUnderWay) return
    isUnderWay = true
    void (async () => {
      while (isWanted) {
        isWanted = false
        await work()
      }
    })().finally(() => {
      isUnderWay = false
    })
  }
}
