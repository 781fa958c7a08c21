/**
 * The answering side of one control connection. At most `REQUESTS_IN_FLIGHT_MAX` handlers of a
 * connection run at a time, more are answered `busy`; a client that does not take its replies is
 * not read from, and one that stays in the middle of a frame or of its replies is dropped. The
 * socket belongs to this object.
 */
import type { Socket } from 'node:net'
import type { Logger } from 'pino'
import { ControlError } from './control-error.ts'
import { encodeFrame, FrameDecoder } from './framing.ts'
import {
  CONTROL_VERSION,
  checkRequest,
  type Refusal,
  type Request,
  type Verbs,
} from './messages.ts'
import {
  acceptParams,
  isVerbOf,
  type NameOf,
  type VerbTable,
  type VerbTypes,
  verbsOf,
} from './verb-table.ts'

export const REQUESTS_IN_FLIGHT_MAX = 16
/** A client that keeps us waiting in the middle of a frame, either way, is dropped after this. */
export const STALLED_MS_MAX = 10_000

/** A handler throws `ControlError.refuse(...)` for an answer that is an error. */
export type ControlHandlers<V extends VerbTypes<V> = Verbs> = {
  readonly [N in keyof V]: (
    params: V[N]['params'],
    /** Aborted when the client has ended its side, as it does when it dies. */
    signal: AbortSignal,
  ) => Promise<V[N]['result']> | V[N]['result']
}

const MESSAGE_LENGTH_MAX = 4096

export class ServerConnection<V extends VerbTypes<V> = Verbs> {
  readonly #socket: Socket
  readonly #table: VerbTable<V>
  readonly #handlers: ControlHandlers<V>
  readonly #gone = new AbortController()
  readonly #log: Logger
  readonly #decoder = new FrameDecoder()
  readonly #stalledMs: number
  #inFlight = 0
  /** No more requests are taken; the connection ends once those under way are answered. */
  #isEnding = false

  constructor(
    socket: Socket,
    table: VerbTable<V>,
    { handlers, log, stalledMs }: { handlers: ControlHandlers<V>; log: Logger; stalledMs: number },
  ) {
    this.#socket = socket
    this.#table = table
    this.#handlers = handlers
    this.#log = log
    this.#stalledMs = stalledMs
    socket.on('data', chunk => {
      this.#receive(chunk)
      this.#watch()
    })
    socket.on('drain', () => {
      socket.resume()
      this.#watch()
    })
    socket.on('timeout', () => {
      log.debug('control client stalled, dropped')
      socket.destroy()
    })
    socket.on('end', () => {
      this.#gone.abort()
      this.finish()
    })
    socket.on('error', error => log.debug({ err: error }, 'control connection broke'))
    socket.on('close', () => this.#gone.abort())
  }

  /** Takes no more requests and ends the connection when those under way are answered. */
  finish(): void {
    this.#isEnding = true
    if (this.#inFlight === 0) this.#socket.end()
  }

  #receive(chunk: Buffer): void {
    if (this.#isEnding) return
    try {
      for (const message of this.#decoder.feed(chunk)) void this.#answer(checkRequest(message))
    } catch (error) {
      if (!(error instanceof ControlError)) throw error
      const code = error.code === 'version' ? 'version' : 'malformed'
      this.#log.debug({ err: error }, 'control client broke the protocol')
      this.#send(0, { error: { code, message: error.message } })
      this.finish()
    }
  }

  async #answer(request: Request): Promise<void> {
    if (this.#inFlight >= REQUESTS_IN_FLIGHT_MAX) {
      const message = `more than ${REQUESTS_IN_FLIGHT_MAX} requests at a time on one connection`
      this.#send(request.id, { error: { code: 'busy', message } })
      return
    }
    this.#inFlight += 1
    try {
      this.#send(request.id, { result: await this.#handle(request) })
    } catch (error) {
      this.#send(request.id, { error: this.#refusal(request, error) })
    }
    this.#inFlight -= 1
    if (this.#isEnding) this.finish()
  }

  async #handle({ verb, params }: Request): Promise<unknown> {
    if (!isVerbOf(this.#table, verb)) {
      const known = verbsOf(this.#table).join(', ')
      const message = `unknown verb ${JSON.stringify(verb)}: there are ${known}`
      throw ControlError.refuse('unknown-verb', message)
    }
    return await this.#dispatch(verb, params)
  }

  #dispatch<N extends NameOf<V>>(verb: N, params: unknown): Promise<unknown> | unknown {
    return this.#handlers[verb](acceptParams(this.#table, verb, params), this.#gone.signal)
  }

  #refusal(request: Request, error: unknown): Refusal {
    if (error instanceof ControlError && error.remoteCode !== undefined) {
      return { code: error.remoteCode, message: error.message }
    }
    this.#log.error({ err: error, verb: request.verb }, 'control request failed')
    return { code: 'internal', message: error instanceof Error ? error.message : String(error) }
  }

  /** Writes a reply; while the client does not take it, nothing more is read. */
  #send(id: number, answer: { readonly result: unknown } | { readonly error: Refusal }): void {
    if (this.#socket.destroyed || !this.#socket.writable) return
    const frame = encodeFrame({ version: CONTROL_VERSION, id, ...shortened(answer) })
    if (this.#socket.write(frame)) return
    this.#socket.pause()
    this.#watch()
  }

  #watch(): void {
    const isMidway = this.#decoder.isInsideFrame || this.#socket.writableNeedDrain
    this.#socket.setTimeout(isMidway ? this.#stalledMs : 0)
  }
}

function shortened(answer: { readonly result: unknown } | { readonly error: Refusal }): object {
  if ('result' in answer) return answer
  const { code, message } = answer.error
  return { error: { code, message: message.slice(0, MESSAGE_LENGTH_MAX) || code } }
}
