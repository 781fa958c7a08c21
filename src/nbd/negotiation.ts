/**
 * The server's handshake with one client, in the control thread. It ends with a file descriptor for
 * the data thread, taken over before the last acknowledgement is sent, when an honest client sends
 * nothing.
 */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Exports, ServerHandshake, type ServerHandshakeResult } from 'nbd-client-ts'
import type { TlsKeys } from '../tls/tls-context.ts'
import { closeSoon, runHandshake, type TakenOver, takeOver } from './handshake-stream.ts'
import { startServerTls } from './server-tls.ts'

/** A client that has not chosen an export by then is turned away. */
export const NEGOTIATION_TIMEOUT_MS = 30_000

export interface NegotiationOptions {
  readonly exports: Exports
  /** What a client gets that asks for the empty name. */
  readonly defaultExport: string
  /** With keys, TLS is required; without, it is refused. */
  readonly tlsKeys: TlsKeys | undefined
}

export interface Negotiated extends TakenOver {
  readonly result: ServerHandshakeResult
  /** The last bytes of the handshake, to be sent by the new owner of `fd`. */
  readonly acknowledgement: Uint8Array
}

/**
 * Runs the handshake. Resolves with undefined when the client only asked (list, info) and left, and
 * rejects with the reason when it broke the protocol, could not prove its key, or took too long;
 * the socket is closed in both cases.
 */
export async function negotiate(
  socket: Socket,
  options: NegotiationOptions,
  timeoutMs = NEGOTIATION_TIMEOUT_MS,
): Promise<Negotiated | undefined> {
  const { exports, defaultExport, tlsKeys } = options
  const tls = tlsKeys === undefined ? 'off' : 'required'
  const handshake = new ServerHandshake({ exports, defaultExport, tls })
  let late: Error | undefined
  const timer = setTimeout(() => {
    late = new Error(`chose no export within ${timeoutMs / 1000} s`)
    socket.destroy(late)
  }, timeoutMs)
  let stream: Duplex = socket
  try {
    await runHandshake(stream, handshake)
    if (handshake.state === 'starting-tls' && tlsKeys !== undefined) {
      stream = await startServerTls(socket, tlsKeys)
      handshake.tlsEstablished()
      await runHandshake(stream, handshake)
    }
    if (handshake.failure !== undefined) throw handshake.failure
    if (handshake.state !== 'transmission') {
      closeSoon(stream)
      return undefined
    }
    const result = handshake.result!
    const acknowledgement = handshake.takeAcknowledgement()
    return { ...takeOver(stream, handshake.takeLeftover()), result, acknowledgement }
  } catch (error) {
    closeSoon(stream)
    throw late ?? error
  } finally {
    clearTimeout(timer)
  }
}
