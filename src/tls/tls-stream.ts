/**
 * TLS as a Node stream, for the control thread: the handshake, and the few words of NBD's own that
 * follow it. Then the connection leaves for the data thread, through `detach`.
 */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { addressOf } from '../io/libc.ts'
import {
  TLS_END,
  TLS_RECORD_MAX,
  TLS_WANTS_INPUT,
  type TlsConnection,
  type TlsHandle,
} from './tls-connection.ts'
import { TlsError } from './tls-error.ts'

/** What a peer may leave unread before it is given up (bytes). */
const UNREAD_MAX = 256 * 1024

/** The peer has gone in the middle of the handshake. */
export class PeerGoneError extends TlsError {
  constructor() {
    super('the peer closed the connection')
  }
}

/**
 * Runs the handshake over a connected socket. Resolves with the stream, whose the socket is from
 * then on; rejects with `TlsError`, or `PeerGoneError`, everything being destroyed.
 */
export function startTls(socket: Socket, connection: TlsConnection): Promise<TlsStream> {
  return new Promise((resolve, reject) => {
    const stream = new TlsStream(socket, connection, () => {
      stream.off('error', reject).off('close', gone)
      resolve(stream)
    })
    const gone = () => reject(new PeerGoneError())
    stream.once('error', reject).once('close', gone)
    // Somebody must hear later errors, or they end the process.
    stream.on('error', ignoreLateError)
    stream.begin()
  })
}

export class TlsStream extends Duplex {
  readonly socket: Socket
  readonly #connection: TlsConnection
  #established: (() => void) | undefined
  readonly #plain = Buffer.allocUnsafeSlow(TLS_RECORD_MAX)
  readonly #plainAddress = addressOf(this.#plain)
  #isDetached = false

  constructor(socket: Socket, connection: TlsConnection, established: () => void) {
    super()
    this.socket = socket
    this.#connection = connection
    this.#established = established
  }

  /** Says what a client says first, and listens. */
  begin(): void {
    const { socket } = this
    socket.on('data', this.#arrived).on('end', this.#ended)
    socket.on('error', this.#failed).on('close', this.#closed)
    this.#advance()
    if (socket.destroyed) this.destroy()
    else socket.resume()
  }

  /**
   * Takes in what has arrived, and listens no more. Throws `TlsError` if a peer that should wait
   * has sent more than there is room for.
   */
  stop(): void {
    const { socket } = this
    socket.pause().off('data', this.#arrived).off('end', this.#ended)
    const late = (socket.read() as Uint8Array | null) ?? new Uint8Array()
    if (this.#connection.put(late) < late.length) {
      throw new TlsError('the peer did not wait for the handshake')
    }
  }

  /** After `stop`: gives the connection away. The stream is over, the socket is the caller's. */
  detach(): TlsHandle {
    this.socket.off('error', this.#failed).off('close', this.#closed).on('error', ignoreLateError)
    this.#isDetached = true
    this.destroy()
    return this.#connection.handle
  }

  override _read(): void {
    this.socket.resume()
  }

  override _write(bytes: Buffer, _encoding: string, written: (error?: Error | null) => void): void {
    if (bytes.length === 0) {
      written()
      return
    }
    for (let at = 0; at < bytes.length; at += TLS_RECORD_MAX) {
      const piece = bytes.subarray(at, at + TLS_RECORD_MAX)
      // A small buffer may be on the moving heap.
      this.#plain.set(piece)
      if (!this.#connection.write(this.#plainAddress, piece.length)) {
        written(new TlsError('the connection is broken'))
        return
      }
      const encrypted = this.#connection.take()
      if (at + TLS_RECORD_MAX < bytes.length) this.socket.write(encrypted)
      else this.socket.write(encrypted, written)
    }
  }

  override _final(ended: (error?: Error) => void): void {
    this.#connection.shutdown()
    this.#flush()
    this.socket.end(() => ended())
  }

  override _destroy(error: Error | null, destroyed: (error: Error | null) => void): void {
    if (!this.#isDetached) {
      this.socket.destroy()
      this.#connection.free()
    }
    destroyed(error)
  }

  readonly #arrived = (bytes: Uint8Array): void => {
    let rest = bytes
    while (rest.length > 0 && !this.destroyed) {
      const taken = this.#connection.put(rest)
      rest = rest.subarray(taken)
      // Nothing is decrypted any more once the peer has said that it was all.
      if (taken === 0) this.destroy(new TlsError('the peer broke the protocol'))
      else this.#advance()
    }
  }

  readonly #ended = (): void => {
    this.push(null)
    if (this.#established !== undefined) this.destroy()
  }

  readonly #failed = (error: Error): void => {
    this.destroy(error)
  }

  readonly #closed = (): void => {
    this.destroy()
  }

  #advance(): void {
    try {
      if (this.#established !== undefined && this.#connection.handshake()) {
        const established = this.#established
        this.#established = undefined
        this.#flush()
        established()
      } else {
        this.#flush()
      }
    } catch (error) {
      // The peer shall hear why.
      this.#flush()
      this.destroy(error as Error)
    }
    if (this.#established === undefined && !this.destroyed) this.#decrypt()
  }

  #decrypt(): void {
    for (;;) {
      const count = this.#connection.read(this.#plainAddress, this.#plain.length)
      this.#flush()
      if (this.destroyed) return
      if (count === TLS_WANTS_INPUT) return
      if (count === TLS_END) {
        this.push(null)
        return
      }
      if (count < 0) {
        this.destroy(new TlsError('the peer broke the protocol'))
        return
      }
      if (!this.push(Buffer.from(this.#plain.subarray(0, count)))) this.socket.pause()
      // Whoever got it may have had enough.
      if (this.destroyed) return
    }
  }

  #flush(): void {
    const bytes = this.#connection.take()
    if (bytes.length > 0) this.socket.write(bytes)
    if (this.socket.writableLength > UNREAD_MAX) {
      this.destroy(new TlsError('the peer takes nothing'))
    }
  }
}

function ignoreLateError(): void {}
