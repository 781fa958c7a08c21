/**
 * Clients on their way into the data thread: accepted, counted, through the handshake, handed over.
 * Lives in the control thread. A client counts from its first byte until nothing of it is left here
 * or there.
 */
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { type NegotiationOptions, negotiate } from '../nbd/negotiation.ts'
import type { DataThread } from './data-thread.ts'

export class Clients {
  readonly #data: Pick<DataThread, 'call'>
  readonly #log: Logger
  readonly #countMax: number
  readonly #negotiating = new Set<Socket>()
  readonly #served = new Set<Promise<void>>()
  #isClosed = false
  #nextId = 1

  constructor(data: Pick<DataThread, 'call'>, log: Logger, countMax: number) {
    this.#data = data
    this.#log = log
    this.#countMax = countMax
  }

  /** Serves a client, or turns it away when there are too many. */
  accept(socket: Socket, negotiation: NegotiationOptions): void {
    const log = this.#log.child({ client: this.#nextId++ })
    if (this.#isClosed || this.#served.size >= this.#countMax) {
      socket.destroy()
      log.warn({ connectionsMax: this.#countMax }, 'client turned away: too many connections')
      return
    }
    const served = this.#serve(socket, negotiation, log).finally(() => this.#served.delete(served))
    this.#served.add(served)
  }

  /**
   * Takes no more and turns those away that have not chosen an export. Resolves when all are gone:
   * call it after the data thread has let go of them.
   */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const socket of this.#negotiating) socket.destroy()
    await Promise.all(this.#served)
  }

  async #serve(socket: Socket, negotiation: NegotiationOptions, log: Logger): Promise<void> {
    this.#negotiating.add(socket)
    const negotiated = await negotiate(socket, negotiation)
      .catch((error: Error) => {
        log.warn({ reason: error.message }, 'client turned away')
        return undefined
      })
      .finally(() => this.#negotiating.delete(socket))
    if (negotiated === undefined) return
    const { fd, tls, acknowledgement, leftover, result } = negotiated
    const { structuredReplies, contexts } = result
    log.debug({ structuredReplies }, 'client connected')
    const contextId = contexts[0]?.id ?? 0
    const client = { fd, tls, acknowledgement, leftover, structuredReplies, contextId }
    try {
      const reason = await this.#data.call('attach', client)
      log.debug({ reason }, 'client gone')
    } catch (error) {
      log.warn({ reason: (error as Error).message }, 'client lost')
    }
  }
}
