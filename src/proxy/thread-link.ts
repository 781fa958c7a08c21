/**
 * Calls between the two threads over a MessagePort: each side offers functions by name and calls
 * the other's. Errors cross as name, message and code.
 */

/** Functions one side offers: one structured-cloneable argument, one such result. */
export type Calls = Record<string, (argument: never) => unknown>

/** An error of the other thread. */
export class ThreadError extends Error {
  override readonly name = 'ThreadError'
  /** Name of the error's class there. */
  readonly remoteName: string
  readonly code: string | undefined

  constructor(remoteName: string, message: string, code: string | undefined) {
    super(message)
    this.remoteName = remoteName
    this.code = code
  }
}

type Message =
  | { kind: 'call'; id: number; name: string; argument: unknown }
  | { kind: 'result'; id: number; value: unknown }
  | { kind: 'error'; id: number; name: string; message: string; code: string | undefined }

interface Pending {
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

interface Port {
  postMessage(message: Message): void
  on(event: 'message', listener: (message: Message) => void): unknown
}

export class ThreadLink<Offered extends Calls, Remote extends Calls> {
  readonly #port: Port
  readonly #offered: Offered
  readonly #pending = new Map<number, Pending>()
  #nextId = 1
  #ended: Error | undefined

  constructor(port: Port, offered: Offered) {
    this.#port = port
    this.#offered = offered
    port.on('message', message => this.#receive(message))
  }

  /** Calls the other thread. Rejects with its error, or when the thread ends first. */
  call<Name extends keyof Remote & string>(
    name: Name,
    argument: Parameters<Remote[Name]>[0],
  ): Promise<Awaited<ReturnType<Remote[Name]>>> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended)
    const id = this.#nextId++
    const result = new Promise<unknown>((resolve, reject) => {
      // Throws, and so rejects, if the argument cannot be cloned.
      this.#port.postMessage({ kind: 'call', id, name, argument })
      this.#pending.set(id, { resolve, reject })
    })
    return result as Promise<Awaited<ReturnType<Remote[Name]>>>
  }

  /** The other thread is gone: every call under way and to come rejects with `reason`. */
  end(reason: Error): void {
    this.#ended ??= reason
    for (const { reject } of this.#pending.values()) reject(reason)
    this.#pending.clear()
  }

  #receive(message: Message): void {
    if (message.kind === 'call') {
      void this.#answer(message.id, message.name, message.argument)
      return
    }
    const pending = this.#pending.get(message.id)
    if (pending === undefined) return
    this.#pending.delete(message.id)
    if (message.kind === 'result') pending.resolve(message.value)
    else pending.reject(new ThreadError(message.name, message.message, message.code))
  }

  async #answer(id: number, name: string, argument: unknown): Promise<void> {
    try {
      const value = await this.#offered[name]!(argument as never)
      this.#port.postMessage({ kind: 'result', id, value })
    } catch (error) {
      this.#port.postMessage({ kind: 'error', id, ...describe(error) })
    }
  }
}

/** What crosses of an error; anything can be thrown. */
function describe(error: unknown): { name: string; message: string; code: string | undefined } {
  if (!(error instanceof Error)) {
    const message = typeof error === 'object' ? 'threw what is not an Error' : String(error)
    return { name: 'Error', message, code: undefined }
  }
  const { name, message } = error
  const code = 'code' in error && error.code !== undefined ? String(error.code) : undefined
  return { name, message, code }
}
