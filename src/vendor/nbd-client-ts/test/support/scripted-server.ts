// A server in memory that negotiates properly and then answers each request as a test says. One
// end of a pair of streams is the client's, the other is read here; no data is kept.

import { Duplex, duplexPair } from 'node:stream'
import * as nbd from '../../src/index.ts'
import { disk } from './handshake.ts'

/** A request as it came in; `cookie` is the low half, all that NbdClient uses. */
export interface ReceivedRequest {
  readonly command: number
  readonly flags: number
  readonly cookieHigh: number
  readonly cookie: number
  readonly offset: number
  readonly length: number
  readonly data: Uint8Array
}

export interface ScriptedServerOptions {
  readonly info?: Partial<nbd.ExportInfo>
  /** Called with each request except NBD_CMD_DISC. */
  readonly onRequest?: (request: ReceivedRequest, server: ScriptedServer) => void
  /** The server's end of a connection; without it a pair of streams is made. */
  readonly stream?: Duplex
  /** Wraps the stream; if given, TLS is required. */
  readonly startTls?: (stream: Duplex) => Duplex
}

/** The server's end; give `client` to NbdClient, or a `stream` of your own to the constructor. */
export class ScriptedServer {
  readonly client: Duplex
  readonly requests: ReceivedRequest[] = []
  readonly handshake: nbd.ServerHandshake
  /** Whether NBD_CMD_DISC has come. */
  isDisconnected = false
  #stream: Duplex
  readonly #onRequest: (request: ReceivedRequest, server: ScriptedServer) => void
  readonly #startTls: ((stream: Duplex) => Duplex) | undefined
  readonly #onData = (bytes: Buffer): void => this.#take(bytes)
  #pending = Buffer.alloc(0)

  constructor({ info, onRequest, stream, startTls }: ScriptedServerOptions = {}) {
    const [client, serverEnd] = duplexPair()
    this.client = client
    this.#stream = stream ?? serverEnd
    this.#onRequest = onRequest ?? (() => {})
    this.#startTls = startTls
    const exports = new Map([['disk', { ...disk, ...info }]])
    const tls = startTls ? 'required' : 'off'
    this.handshake = new nbd.ServerHandshake({ exports, defaultExport: 'disk', tls })
    this.send(this.handshake.takeOutput())
    this.#listen()
  }

  send(bytes: Uint8Array): void {
    this.#stream.write(bytes)
  }

  /** Goes away without a word. */
  close(): void {
    this.#stream.destroy()
    this.client.destroy()
  }

  #listen(): void {
    this.#stream.on('data', this.#onData)
    this.#stream.on('error', () => {})
    this.#stream.on('end', () => this.#stream.end())
  }

  #take(bytes: Buffer): void {
    if (this.handshake.result) this.#pending = Buffer.concat([this.#pending, bytes])
    else this.#negotiate(bytes)
    while (this.handshake.result && this.#takeRequest()) {}
  }

  #negotiate(bytes: Buffer): void {
    this.handshake.feed(bytes)
    this.send(this.handshake.takeOutput())
    switch (this.handshake.state) {
      case 'transmission':
        this.send(this.handshake.takeAcknowledgement())
        break
      case 'starting-tls':
        this.#stream.removeListener('data', this.#onData)
        this.#stream = this.#startTls!(this.#stream)
        this.#listen()
        this.handshake.tlsEstablished()
        break
      case 'ended':
      case 'failed':
        this.#stream.end()
        break
    }
  }

  #takeRequest(): boolean {
    const bytes = this.#pending
    if (bytes.length < nbd.REQUEST_SIZE) return false
    const command = bytes.readUInt16BE(nbd.REQUEST_COMMAND_AT)
    const length = bytes.readUInt32BE(nbd.REQUEST_LENGTH_AT)
    const size = nbd.REQUEST_SIZE + (command === nbd.NBD_CMD_WRITE ? length : 0)
    if (bytes.length < size) return false
    this.#pending = bytes.subarray(size)
    if (command === nbd.NBD_CMD_DISC) {
      this.isDisconnected = true
      this.#stream.end()
      return false
    }
    const request = {
      command,
      length,
      flags: bytes.readUInt16BE(nbd.REQUEST_FLAGS_AT),
      cookieHigh: bytes.readUInt32BE(nbd.REQUEST_COOKIE_HIGH_AT),
      cookie: bytes.readUInt32BE(nbd.REQUEST_COOKIE_LOW_AT),
      offset: Number(bytes.readBigUInt64BE(nbd.REQUEST_OFFSET_AT)),
      data: bytes.subarray(nbd.REQUEST_SIZE, size),
    }
    this.requests.push(request)
    this.#onRequest(request, this)
    return true
  }
}

/** A stream on which the other side never says a word. */
export function silentStream(): Duplex {
  return new Duplex({
    read() {},
    write(_bytes, _encoding, done) {
      done()
    },
  })
}
