/**
 * A handshake of either role over a real stream, and what follows it: the socket leaves this thread
 * as a file descriptor, and with TLS the state of the connection goes with it. Used by the server
 * for clients and by the mirror for its target.
 */
import type * as net from 'node:net'
import type { Duplex } from 'node:stream'
import type { HandshakeState } from 'nbd-client-ts'
import { check, duplicate } from '../io/libc.ts'
import { setSendBuffer } from '../io/libc-control.ts'
import type { StreamHandle } from '../tls/tls-socket.ts'
import { TlsStream } from '../tls/tls-stream.ts'

/**
 * Bytes a peer may send behind the handshake before we are ready for them; an honest one sends
 * none.
 */
const EARLY_BYTES_MAX = 64 * 1024
/** How long a peer may take for what was said last, and to close its side, before we close. */
export const LINGER_MS = 1000

/**
 * What may wait in a connection to be sent (bytes): several large payloads, so that neither side is
 * woken up for every hundred kilobytes of one, which is what a unix socket holds by itself.
 */
const SEND_BUFFER = 4 * 1024 * 1024

/** What both roles of nbd-client-ts's handshake have in common. */
export interface Handshake {
  readonly state: HandshakeState
  feed(bytes: Uint8Array): void
  takeOutput(): Uint8Array
}

const IS_UNDER_WAY: ReadonlySet<HandshakeState> = new Set(['greeting', 'client-flags', 'haggling'])

/**
 * Feeds the handshake until it wants TLS or is over, and sends what it says. The stream is paused
 * afterwards and everything said has left. Rejects when the stream ends first.
 */
export function runHandshake(stream: Duplex, handshake: Handshake): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error) => {
      stream.off('data', received).off('end', ended).off('error', done).off('close', ended)
      // Somebody must hear later errors, or they end the process.
      stream.on('error', ignoreLateError)
      if (error !== undefined) reject(error)
      else resolve()
    }
    const send = () => {
      const output = handshake.takeOutput()
      if (IS_UNDER_WAY.has(handshake.state)) {
        if (output.length > 0) stream.write(output)
        return
      }
      stream.off('data', received)
      stream.pause()
      stream.write(output, error => done(error ?? undefined))
    }
    const received = (bytes: Uint8Array) => {
      handshake.feed(bytes)
      send()
    }
    const ended = () => done(new Error('the peer closed the connection during the handshake'))
    stream.on('data', received).on('end', ended).on('error', done).on('close', ended)
    send()
  })
}

/** Lets what was said leave, then closes, whatever the peer does. */
export function closeSoon(stream: Duplex): void {
  stream.end(() => stream.destroy())
  const timer = setTimeout(() => stream.destroy(), LINGER_MS)
  stream.once('close', () => clearTimeout(timer))
  if (stream.closed) clearTimeout(timer)
}

/** A connection that has left its stream; the receiver owns it. */
export interface TakenOver extends StreamHandle {
  /** What the peer sent behind the handshake. */
  readonly leftover: Uint8Array
}

/**
 * Takes the connection out of a stream whose handshake is over. Call it only while the peer waits
 * for us. `received` is what the handshake did not consume. Throws, the stream being destroyed,
 * when the peer has gone or not waited, or there is no descriptor left.
 */
export function takeOver(stream: Duplex, received: Uint8Array): TakenOver {
  try {
    const isTls = stream instanceof TlsStream
    const socket = isTls ? stream.socket : (stream as net.Socket)
    // With the stream the state of its connection is freed.
    if (stream.destroyed || socket.destroyed) {
      throw new Error('the peer closed the connection during the handshake')
    }
    if (isTls) stream.stop()
    const early = (stream.read() as Uint8Array | null) ?? new Uint8Array()
    const leftover = Buffer.concat([received, early])
    if (leftover.length > EARLY_BYTES_MAX) {
      throw new Error('the peer did not wait for the handshake')
    }
    const { _handle: handle } = socket as unknown as { _handle: { fd: number } }
    check(setSendBuffer(handle.fd, SEND_BUFFER), 'setsockopt')
    const fd = check(duplicate(handle.fd), 'dup')
    const tls = isTls ? stream.detach() : undefined
    socket.destroy()
    return { fd, leftover, tls }
  } catch (error) {
    stream.destroy()
    throw error
  }
}

function ignoreLateError(): void {}
