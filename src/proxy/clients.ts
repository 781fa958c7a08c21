/**
 * Clients on their way into the data thread: accepted, counted, through the handshake, handed over.
 * Lives in the control thread.
 */
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { type NegotiationOptions, negotiate } from '../nbd/negotiation.ts'
import type { DataThread } from './data-thread.ts'

export class Clients {
  readonly #data: DataThread
  readonly #log: Logger
  readonly #negotiation: NegotiationOptions
  readonly #countMax: number
  #count = 0
  #nextId = 1

  constructor(data: DataThread, log: Logger, negotiation: NegotiationOptions, countMax: number) {
    this.#data = data
    this.#log = log
    this.#negotiation = negotiation
    this.#countMax = countMax
  }

  /** Serves a client, or turns it away when there are too many. */
  async accept(socket: Socket): Promise<void> {
    const log = this.#log.child({ client: this.#nextId++ })
    if (this.#count >= this.#countMax) {
      socket.destroy()
      log.warn({ connectionsMax: this.#countMax }, 'client turned away: too many connections')
      return
    }
    this.#count++
    try {
      await this.#serve(socket, log)
    } catch (error) {
      log.warn({ reason: (error as Error).message }, 'client turned away')
    } finally {
      this.#count--
    }
  }

  async #serve(socket: Socket, log: Logger): Promise<void> {
    const negotiated = await negotiate(socket, this.#negotiation)
    if (negotiated === undefined) return
    const { fd, acknowledgement, leftover, result } = negotiated
    const { structuredReplies, contexts } = result
    log.debug({ structuredReplies }, 'client connected')
    const contextId = contexts[0]?.id ?? 0
    const client = { fd, acknowledgement, leftover, structuredReplies, contextId }
    const reason = await this.#data.call('attach', client)
    log.debug({ reason }, 'client gone')
  }
}
