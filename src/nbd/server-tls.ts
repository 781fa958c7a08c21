/** TLS with pre-shared keys in the server's role (NBD proto, NBD_OPT_STARTTLS). */
import type { Socket } from 'node:net'
import { TlsConnection } from '../tls/tls-connection.ts'
import type { TlsKeys } from '../tls/tls-context.ts'
import { PeerGoneError, startTls, type TlsStream } from '../tls/tls-stream.ts'

/**
 * Runs the TLS handshake on a socket on which NBD_OPT_STARTTLS was acknowledged. Rejects when the
 * client knows no key of ours.
 */
export async function startServerTls(socket: Socket, keys: TlsKeys): Promise<TlsStream> {
  try {
    return await startTls(socket, TlsConnection.server(keys))
  } catch (error) {
    const why =
      error instanceof PeerGoneError ? 'the client has gone' : 'the client has another key'
    throw new Error(`TLS handshake failed: ${why}`, { cause: error })
  }
}
