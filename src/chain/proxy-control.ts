/**
 * The control connection to whichever proxy is in the path now. Remembers the mirror that was
 * started last, with the settings made since, so that the next proxy can go on with it. Calls wait
 * while there is no proxy; their number has a limit, because callers poll.
 */
import { connectControl } from '../control/channel.ts'
import type { ControlClient } from '../control/client.ts'
import { ControlError } from '../control/control-error.ts'
import type { MirrorStartParams, Verb, Verbs } from '../control/messages.ts'
import type { MirrorStatus, ServeStatus } from '../control/status.ts'
import { pause } from './pause.ts'

/** Calls that may wait for a proxy. */
const WAITING_MAX = 64
/** Between two tries to start the mirror again (ms); the target may still see the old one. */
const RETRY_MS = 250
/** Longest wait for one answer when starting it again (ms). */
const START_MS_MAX = 15_000
/** How long it is tried, if its own setting allows less (ms). */
const RESUME_MS_MIN = 10_000

interface Waiting {
  readonly resolve: (client: ControlClient) => void
  readonly reject: (error: ControlError) => void
  readonly timer: NodeJS.Timeout
}

export class ProxyControl {
  readonly #path: string
  readonly #waiting = new Set<Waiting>()
  #client: ControlClient | undefined
  #isOpen = false
  #ended: ControlError | undefined
  #mirror: MirrorStartParams | undefined

  constructor(path: string) {
    this.#path = path
  }

  async call<V extends Verb>(
    verb: V,
    params: Verbs[V]['params'],
    { timeoutMs }: { readonly timeoutMs: number },
  ): Promise<Verbs[V]['result']> {
    const deadline = performance.now() + timeoutMs
    const open = this.#isOpen ? this.#client : undefined
    const client = open ?? (await this.#next(verb, timeoutMs))
    const left = Math.max(1, deadline - performance.now())
    const result = await client.call(verb, params, { timeoutMs: left })
    this.#remember(verb, params)
    return result
  }

  /** What the proxy says of itself; never waits for another. */
  async status(timeoutMs: number): Promise<ServeStatus> {
    if (this.#client === undefined) throw closed('there is no proxy now')
    const status = await this.#client.call('status', {}, { timeoutMs })
    if (status.mirror?.state === 'concluded') this.#mirror = undefined
    return status
  }

  /** Connects to a proxy that serves. Calls go on waiting. */
  async attach(): Promise<void> {
    this.#client = await connectControl(this.#path)
  }

  /** Starts the last mirror again, if one was running, and lets calls through. */
  async open(): Promise<void> {
    const client = this.#client
    if (client === undefined) throw closed('there is no proxy now')
    if (this.#ended !== undefined) throw this.#ended
    if (this.#mirror !== undefined) await restart(client, this.#mirror)
    if (this.#client !== client) throw closed('the proxy has gone')
    this.#isOpen = true
    for (const { resolve, timer } of this.#waiting) {
      clearTimeout(timer)
      resolve(client)
    }
    this.#waiting.clear()
  }

  /** The proxy is gone; calls under way reject, later ones wait. */
  detach(): void {
    this.#isOpen = false
    this.#client?.close()
    this.#client = undefined
  }

  /** There will be no proxy any more. */
  end(reason: string): void {
    this.detach()
    this.#ended ??= closed(reason)
    for (const { reject, timer } of this.#waiting) {
      clearTimeout(timer)
      reject(this.#ended)
    }
    this.#waiting.clear()
  }

  #next(verb: Verb, timeoutMs: number): Promise<ControlClient> {
    if (this.#ended !== undefined) throw this.#ended
    if (this.#waiting.size >= WAITING_MAX) throw closed(`${WAITING_MAX} calls wait for a proxy`)
    return new Promise((resolve, reject) => {
      const expired = (): void => {
        this.#waiting.delete(waiting)
        reject(new ControlError('timeout', `no proxy to take ${verb} within ${timeoutMs} ms`))
      }
      const waiting = { resolve, reject, timer: setTimeout(expired, timeoutMs) }
      this.#waiting.add(waiting)
    })
  }

  #remember<V extends Verb>(verb: V, params: Verbs[V]['params']): void {
    if (verb === 'mirror-start') this.#mirror = params as MirrorStartParams
    if (verb === 'mirror-cancel' || verb === 'mirror-complete') this.#mirror = undefined
    if (verb !== 'mirror-set' || this.#mirror === undefined) return
    this.#mirror = { ...this.#mirror, ...(params as Verbs['mirror-set']['params']) }
  }
}

/** The target may refuse the new connection for as long as it has not done with the old one. */
async function restart(client: ControlClient, mirror: MirrorStartParams): Promise<MirrorStatus> {
  const tryMs = Math.max(RESUME_MS_MIN, mirror.reconnectSeconds * 1000)
  const deadline = performance.now() + tryMs
  for (;;) {
    try {
      return await client.call('mirror-start', mirror, { timeoutMs: START_MS_MAX })
    } catch (error) {
      const isFinal = !(error instanceof ControlError) || error.code !== 'refused'
      if (isFinal || performance.now() >= deadline) throw error
    }
    await pause(RETRY_MS)
  }
}

function closed(reason: string): ControlError {
  return new ControlError('closed', reason)
}
