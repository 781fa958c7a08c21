// Requests in flight over one duplex stream. At most `inFlightMax` requests are on the wire, the
// others wait in a bounded queue, and none is written while the stream's buffer is full. Any
// failure of stream, peer or time ends the whole channel: every request settles exactly once.
// A write's data and a read's destination belong to the channel until their request settles.

import type { Duplex } from 'node:stream'
import { NBD_CMD_DISC, NBD_CMD_WRITE, NBD_ESHUTDOWN } from './constants.ts'
import { ConnectionError, NbdError } from './errors.ts'
import { IN_FLIGHT_MAX, QUEUED_REQUESTS_MAX, REQUEST_TIMEOUT_MS } from './limits.ts'
import { ReplyParser } from './reply-parser.ts'
import type { Reply, ReplyRequest } from './reply-progress.ts'
import type { Session } from './session.ts'
import { closeStream } from './session.ts'
import { putRequest, REQUEST_SIZE } from './wire.ts'

export interface ChannelOptions {
  /** Requests on the wire at a time. */
  readonly inFlightMax?: number
  /** Milliseconds from sending a request to its whole reply. */
  readonly requestTimeoutMs?: number
}

/** What to send: one request of the protocol, already within the server's limits. */
export interface ChannelRequest {
  readonly command: number
  readonly flags: number
  readonly offset: number
  readonly length: number
  /** Data of a write. */
  readonly source?: Uint8Array
  /** Where a read goes. */
  readonly destination?: Uint8Array
}

interface Sent extends ReplyRequest {
  readonly queued: Queued
  readonly timer: NodeJS.Timeout
}

interface Queued {
  readonly request: ChannelRequest
  readonly resolve: (reply: Reply) => void
  readonly reject: (error: Error) => void
}

/** One connection in the transmission phase. */
export class Channel {
  readonly #stream: Duplex
  readonly #parser: ReplyParser<Sent>
  readonly #inFlightMax: number
  readonly #requestTimeoutMs: number
  #queue: Queued[] = []
  #cookie = 0
  #isBlocked = false
  #corked = false
  #failure: Error | undefined
  #closing: Promise<void> | undefined
  #onIdle: (() => void) | undefined

  constructor({ stream, leftover, result }: Session, options: ChannelOptions) {
    this.#stream = stream
    this.#inFlightMax = options.inFlightMax ?? IN_FLIGHT_MAX
    this.#requestTimeoutMs = options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS
    this.#parser = new ReplyParser({
      structuredReplies: result.structuredReplies,
      contexts: result.contexts,
      onReply: (sent, reply) => this.#settle(sent, reply),
    })
    stream.on('data', (bytes: Uint8Array) => this.#feed(bytes))
    stream.on('drain', () => {
      this.#isBlocked = false
      this.#pump()
    })
    stream.on('error', cause => {
      this.#fail(new ConnectionError(`connection failed: ${cause.message}`, 'closed', { cause }))
    })
    stream.on('end', () =>
      this.#fail(new ConnectionError('server closed the connection', 'closed')),
    )
    stream.on('close', () => this.#fail(new ConnectionError('connection closed', 'closed')))
    if (stream.destroyed) this.#fail(new ConnectionError('connection closed', 'closed'))
    this.#feed(leftover)
    stream.resume()
  }

  /** Why there is no connection any more; undefined while there is one. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /**
   * Sends a request when its turn comes. Resolves with a reply without error; rejects with
   * NbdError for one with, and with ConnectionError or ProtocolError if the channel ends.
   */
  send(request: ChannelRequest): Promise<Reply> {
    if (this.#failure) return Promise.reject(this.#failure)
    if (this.#closing) {
      return Promise.reject(new ConnectionError('client is disconnecting', 'closed'))
    }
    if (this.#queue.length >= QUEUED_REQUESTS_MAX) {
      const message = `more than ${QUEUED_REQUESTS_MAX} requests are waiting`
      return Promise.reject(new ConnectionError(message, 'queue-full'))
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ request, resolve, reject })
      this.#pump()
    })
  }

  /** Waits for the requests accepted so far, disconnects softly and resolves. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  /** Ends everything at once; open requests reject with `reason`. */
  destroy(reason: Error): void {
    this.#fail(reason)
  }

  #pump(): void {
    let next = 0
    while (
      next < this.#queue.length &&
      !this.#isBlocked &&
      this.#parser.inFlightCount < this.#inFlightMax
    ) {
      this.#write(this.#queue[next++]!)
    }
    if (next > 0) this.#queue.splice(0, next)
  }

  #write(queued: Queued): void {
    const { command, flags, offset, length, source, destination } = queued.request
    this.#cookie = (this.#cookie + 1) >>> 0
    const cookieLow = this.#cookie
    const timer = setTimeout(() => this.#timeOut(queued.request), this.#requestTimeoutMs)
    const target = destination && { destination }
    const fields = { cookieHigh: 0, cookieLow, command, flags, offset, length, ...target }
    this.#parser.expect({ ...fields, queued, timer })
    const header = new Uint8Array(REQUEST_SIZE)
    putRequest(new DataView(header.buffer), 0, flags, command, 0, cookieLow, offset, length)
    this.#cork()
    let hasRoom = this.#stream.write(header)
    if (command === NBD_CMD_WRITE) hasRoom = this.#stream.write(source!)
    this.#isBlocked = !hasRoom
  }

  /** Requests of one turn of the event loop leave in one write. */
  #cork(): void {
    if (this.#corked) return
    this.#corked = true
    this.#stream.cork()
    process.nextTick(() => {
      this.#corked = false
      this.#stream.uncork()
    })
  }

  #feed(bytes: Uint8Array): void {
    if (this.#failure) return
    try {
      this.#parser.feed(bytes)
    } catch (error) {
      this.#fail(error as Error)
      return
    }
    this.#pump()
    if (this.#isIdle()) this.#onIdle?.()
  }

  #settle({ queued, timer }: Sent, reply: Reply): void {
    clearTimeout(timer)
    if (reply.error === 0) {
      queued.resolve(reply)
      return
    }
    const { offset, length } = queued.request
    const message = reply.message === '' ? '' : ` (${reply.message})`
    const where = `${commandName(queued.request.command)} offset=${offset} length=${length}`
    queued.reject(new NbdError(`${where}${message}`, reply.error))
    // "If the client receives an NBD_ESHUTDOWN error it MUST initiate a soft disconnect."
    if (reply.error === NBD_ESHUTDOWN) void this.close()
  }

  #timeOut({ command, offset, length }: ChannelRequest): void {
    const what = `${commandName(command)} offset=${offset} length=${length}`
    const message = `${what}: no reply for ${this.#requestTimeoutMs} ms`
    this.#fail(new ConnectionError(message, 'timeout'))
  }

  #isIdle(): boolean {
    return this.#queue.length === 0 && this.#parser.inFlightCount === 0
  }

  async #close(): Promise<void> {
    if (!this.#failure && !this.#isIdle()) {
      await new Promise<void>(resolve => {
        this.#onIdle = resolve
      })
    }
    if (this.#failure) return
    const header = new Uint8Array(REQUEST_SIZE)
    putRequest(new DataView(header.buffer), 0, 0, NBD_CMD_DISC, 0, 0, 0, 0)
    this.#stream.write(header)
    this.#failure = new ConnectionError('client has disconnected', 'closed')
    await closeStream(this.#stream)
  }

  /** Every request still open is settled here, and nowhere twice: the parser forgets the others. */
  #fail(failure: Error): void {
    if (this.#failure) return
    this.#failure = failure
    for (const { timer, queued } of this.#parser.inFlight()) {
      clearTimeout(timer)
      queued.reject(failure)
    }
    for (const { reject } of this.#queue) reject(failure)
    this.#queue = []
    this.#stream.destroy()
    this.#onIdle?.()
  }
}

const commandNames = ['read', 'write', 'disc', 'flush', 'trim', 'cache', 'write zeroes']

/** Name of a command for messages. */
export function commandName(command: number): string {
  return commandNames[command] ?? 'block status'
}
