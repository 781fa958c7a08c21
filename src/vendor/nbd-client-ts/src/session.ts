// From a URI or a stream to a finished handshake, with TLS on the way. Owns the stream until it
// resolves: on any failure the stream is destroyed. One timer bounds everything from connecting
// to the last acknowledgement. The stream is handed over paused, with no listener of ours left.

import { once } from 'node:events'
import { connect as connectSocket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { ClientHandshake } from './client-handshake.ts'
import type { ClientHandshakeResult, ListedExport } from './client-options.ts'
import { ConnectionError, NbdError } from './errors.ts'
import { isFinalState } from './handshake-session.ts'
import { DISCONNECT_TIMEOUT_MS, HANDSHAKE_TIMEOUT_MS } from './limits.ts'
import { certificateDirectory, type NbdTlsOptions, tlsConnectOptions } from './tls.ts'
import { type NbdUri, parseNbdUri } from './uri.ts'

/** Secures a connection. Rejects if the peers do not trust each other or one of them has gone. */
export type TlsStarter = (socket: Duplex) => Promise<Duplex>

/** How to get to an export. A URI's own parts win over these. */
export interface SessionOptions {
  /** For streams; a URI has the export's name. Default '', the server's default export. */
  readonly exportName?: string
  /** TLS is required if this is present or the URI's scheme is nbds. */
  readonly tls?: NbdTlsOptions
  /**
   * Does TLS in place of node:tls. Called before anything is connected, with what the URI and `tls`
   * say together and the host to connect to; rejects if a file cannot be used.
   */
  readonly prepareTls?: (tls: NbdTlsOptions, host: string | undefined) => Promise<TlsStarter>
  readonly structuredReplies?: boolean
  /** Meta contexts to ask for. Default `base:allocation`. */
  readonly contexts?: readonly string[]
  /** Milliseconds for connecting, TLS and handshake together. */
  readonly handshakeTimeoutMs?: number
}

/** An established session. */
export interface Session {
  /** Paused; with TLS, the decrypted stream. */
  readonly stream: Duplex
  /** What the server sent behind the handshake; normally empty. */
  readonly leftover: Uint8Array
  readonly result: ClientHandshakeResult
}

/**
 * Connects and negotiates up to the transmission phase. Rejects with ConnectionError,
 * ProtocolError, NbdError if the server refuses, and SyntaxError for a bad URI.
 */
export async function openSession(
  target: Duplex | string,
  options: SessionOptions = {},
): Promise<Session> {
  const { stream, handshake } = await negotiate(target, options, 'go')
  return { stream, leftover: handshake.takeLeftover(), result: handshake.result! }
}

/** Asks a server for its exports, and closes. Rejects like openSession(). */
export async function listExports(
  target: Duplex | string,
  options: SessionOptions = {},
): Promise<readonly ListedExport[]> {
  const { stream, handshake } = await negotiate(target, options, 'list')
  await closeStream(stream)
  return handshake.exports!
}

/** Asks a server about one export, and closes. Rejects like openSession(). */
export async function exportInfo(
  target: Duplex | string,
  options: SessionOptions = {},
): Promise<ClientHandshakeResult> {
  const { stream, handshake } = await negotiate(target, options, 'info')
  await closeStream(stream)
  return handshake.result!
}

/** Sends what is pending, ends the stream and waits for the peer to close it, for a while. */
export async function closeStream(stream: Duplex): Promise<void> {
  if (stream.destroyed) return
  const timer = setTimeout(() => stream.destroy(), DISCONNECT_TIMEOUT_MS)
  stream.on('error', ignoreLateError)
  stream.end()
  stream.resume()
  if (!stream.closed) await once(stream, 'close').catch(ignoreLateError)
  clearTimeout(timer)
}

async function negotiate(
  target: Duplex | string,
  options: SessionOptions,
  goal: 'go' | 'info' | 'list',
): Promise<{ stream: Duplex; handshake: ClientHandshake }> {
  const uri = typeof target === 'string' ? parseNbdUri(target) : undefined
  const startTls = await tlsStarterOf(uri, options)
  const handshake = new ClientHandshake({
    goal,
    exportName: uri?.exportName ?? options.exportName ?? '',
    tls: startTls ? 'require' : 'off',
    ...(options.structuredReplies !== undefined && {
      structuredReplies: options.structuredReplies,
    }),
    ...(options.contexts !== undefined && { contexts: options.contexts }),
  })
  const driver = new Driver(typeof target === 'string' ? openSocket(uri!) : target)
  const timeoutMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS
  const timer = setTimeout(() => {
    handshake.close(`nothing for ${timeoutMs} ms`)
    driver.destroy(new ConnectionError(`handshake took over ${timeoutMs} ms`, 'timeout'))
  }, timeoutMs)
  try {
    await driver.run(handshake, startTls)
    return { stream: driver.release(), handshake }
  } catch (error) {
    driver.destroy()
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** Moves bytes between a stream and a handshake. The stream changes once, when TLS starts. */
class Driver {
  #stream: Duplex
  #failure: Error | undefined
  #wake: (() => void) | undefined
  readonly #onReadable = (): void => this.#wake?.()
  readonly #onError = (cause: Error): void => {
    this.#failure ??=
      cause instanceof ConnectionError
        ? cause
        : new ConnectionError(failureText(cause, this.#stage), this.#stage, { cause })
    this.#wake?.()
  }
  readonly #onClose = (): void => {
    this.#failure ??= new ConnectionError('server closed the connection in the handshake', 'closed')
    this.#wake?.()
  }
  #stage: 'connect' | 'tls' | 'closed' = 'connect'

  constructor(stream: Duplex) {
    this.#stream = stream
    this.#listen()
  }

  async run(handshake: ClientHandshake, startTls: TlsStarter | undefined): Promise<void> {
    for (;;) {
      const output = handshake.takeOutput()
      if (output.length > 0) this.#stream.write(output)
      if (handshake.state === 'starting-tls') {
        await this.#startTls(startTls!)
        handshake.tlsEstablished()
      } else if (isFinalState(handshake.state)) {
        if (!this.#failure && !handshake.failure) return
        if (!this.#failure && handshake.failure instanceof NbdError) await this.#leave()
        throw this.#failure ?? handshake.failure
      } else {
        handshake.feed(await this.#read())
      }
    }
  }

  /** Gives the stream away, paused and without our listeners. */
  release(): Duplex {
    this.#unlisten()
    this.#stream.pause()
    return this.#stream
  }

  /** Idempotent. Late errors of the stream have nobody to interest. */
  destroy(reason?: ConnectionError): void {
    if (reason) this.#onError(reason)
    this.#stream.on('error', ignoreLateError)
    this.#stream.destroy()
  }

  async #read(): Promise<Uint8Array> {
    for (;;) {
      const bytes: Uint8Array | null = this.#stream.read()
      if (bytes !== null) {
        this.#stage = 'closed'
        return bytes
      }
      if (this.#failure) throw this.#failure
      await this.#change()
    }
  }

  async #startTls(startTls: TlsStarter): Promise<void> {
    this.#unlisten()
    this.#stage = 'tls'
    this.#stream.on('error', ignoreLateError)
    try {
      this.#stream = await startTls(this.#stream)
    } catch (cause) {
      this.#onError(cause as Error)
      throw this.#failure
    }
    this.#listen()
    if (this.#failure) throw this.#failure
    this.#stage = 'closed'
  }

  /** The server refused, and NBD_OPT_ABORT is on its way: let it out before the end. */
  async #leave(): Promise<void> {
    this.#unlisten()
    await closeStream(this.#stream)
  }

  async #change(): Promise<void> {
    await new Promise<void>(resolve => {
      this.#wake = resolve
    })
    this.#wake = undefined
  }

  #listen(): void {
    this.#stream.on('readable', this.#onReadable)
    this.#stream.on('error', this.#onError)
    this.#stream.on('end', this.#onClose)
    this.#stream.on('close', this.#onClose)
    if (this.#stream.destroyed || this.#stream.readableEnded) this.#onClose()
  }

  #unlisten(): void {
    this.#stream.off('readable', this.#onReadable)
    this.#stream.off('error', this.#onError)
    this.#stream.off('end', this.#onClose)
    this.#stream.off('close', this.#onClose)
  }
}

/** OpenSSL's own texts name its source files and say nothing of keys. */
function failureText(cause: Error, stage: 'connect' | 'tls' | 'closed'): string {
  if (stage !== 'tls') return `connection failed: ${cause.message}`
  const code = 'code' in cause ? String(cause.code) : cause.message.trim()
  return `TLS failed (${code}): check that both sides have the same key, or fitting certificates`
}

function openSocket(uri: NbdUri): Duplex {
  return uri.socketPath !== undefined
    ? connectSocket({ path: uri.socketPath })
    : connectSocket({ host: uri.host!, port: uri.port!, noDelay: true })
}

/** Reads key and certificate files before anything is connected. */
async function tlsStarterOf(
  uri: NbdUri | undefined,
  { tls, prepareTls = prepareNodeTls }: SessionOptions,
): Promise<TlsStarter | undefined> {
  if (!tls && !uri?.tls) return undefined
  try {
    return await prepareTls(uri ? { ...tls, ...(await tlsOptionsOf(uri)) } : { ...tls }, uri?.host)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new ConnectionError(`TLS files cannot be used: ${why}`, 'tls', { cause })
  }
}

async function prepareNodeTls(
  options: NbdTlsOptions,
  host: string | undefined,
): Promise<TlsStarter> {
  const settings = await tlsConnectOptions(options, host)
  return socket =>
    new Promise((resolve, reject) => {
      const secured = connectTls({ ...settings, socket }, () => {
        secured.off('error', reject).off('close', closed).on('error', ignoreLateError)
        resolve(secured)
      })
      const closed = (): void => {
        reject(new ConnectionError('server closed the connection in the TLS handshake', 'tls'))
      }
      secured.on('error', reject).on('close', closed)
    })
}

async function tlsOptionsOf(uri: NbdUri): Promise<NbdTlsOptions> {
  const { tlsCertificates, tlsPskFile, username, tlsHostname, tlsVerifyPeer } = uri
  return {
    ...(tlsCertificates !== undefined && (await certificateDirectory(tlsCertificates))),
    ...(tlsPskFile !== undefined && { pskFile: tlsPskFile }),
    ...(username !== undefined && { username }),
    ...(tlsHostname !== undefined && { hostname: tlsHostname }),
    ...(tlsVerifyPeer !== undefined && { verifyPeer: tlsVerifyPeer }),
  }
}

function ignoreLateError(): void {
  // The session has ended already, and its owner has been told why.
}
