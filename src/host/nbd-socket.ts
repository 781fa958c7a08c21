/**
 * The handshake with an NBD server in front of the kernel's client: over a unix socket, with what
 * the kernel speaks, which is simple replies and no meta context.
 */
import { connect } from 'node:net'
import { openSession } from 'nbd-client-ts'
import { check, close, duplicate } from '../io/libc.ts'

/** A connected socket on which the server waits for the first request. */
export interface NbdSocket {
  /** The receiver owns it; it is not read by us. */
  readonly fd: number
  /** Bytes. */
  readonly size: number
  /** Transmission flags as the server sent them. */
  readonly flags: number
}

/**
 * Rejects with what the socket says, as ENOENT or ECONNREFUSED while nobody listens there, and with
 * nbd-client-ts's own errors.
 */
export async function openNbdSocket(path: string, timeoutMs: number): Promise<NbdSocket> {
  const socket = connect({ path })
  const { leftover, result } = await openSession(socket, {
    structuredReplies: false,
    contexts: [],
    handshakeTimeoutMs: timeoutMs,
  })
  try {
    if (leftover.length > 0) throw new Error(`${path}: the server did not wait for a request`)
    const { _handle: handle } = socket as unknown as { _handle: { fd: number } }
    const fd = check(duplicate(handle.fd), 'dup')
    return { fd, size: result.size, flags: result.flags }
  } finally {
    // Without this the event loop would go on reading what the server says to the kernel.
    socket.destroy()
  }
}

export function closeNbdSocket({ fd }: NbdSocket): void {
  check(close(fd), 'close')
}
