/**
 * The control thread's part of reaching a mirror's target: name resolution, TLS and haggling, which
 * may take their time. The data thread gets a connection that is ready for its first request.
 */
import type { Socket } from 'node:net'
import {
  type NbdTlsOptions,
  openSession,
  ProtocolError,
  parseNbdUri,
  readPsk,
  type TlsStarter,
} from 'nbd-client-ts'
import { takeOver } from '../nbd/handshake-stream.ts'
import { TlsConnection } from '../tls/tls-connection.ts'
import { closeStream } from '../tls/tls-socket.ts'
import { startTls } from '../tls/tls-stream.ts'
import type { TargetConnection } from './calls.ts'

/** Longest wait for a target to answer the whole handshake. */
export const TARGET_TIMEOUT_MS = 10_000

/** Connects and haggles. Rejects with the package's own errors, or SyntaxError for a bad URI. */
export async function connectTarget(target: {
  uri: string
  tlsPskFile: string | undefined
}): Promise<TargetConnection> {
  const { username } = parseNbdUri(target.uri)
  const session = await openSession(target.uri, {
    handshakeTimeoutMs: TARGET_TIMEOUT_MS,
    prepareTls,
    ...(target.tlsPskFile !== undefined && { tls: pskOptions(target.tlsPskFile, username) }),
  })
  const { fd, tls, leftover } = takeOver(session.stream, session.leftover)
  if (leftover.length > 0) {
    closeStream({ fd, tls })
    throw new ProtocolError('after the handshake', 'silence', `${leftover.length} bytes`)
  }
  const { size, flags, blockSize, structuredReplies, contexts } = session.result
  const contextId = contexts[0]?.id
  return { fd, tls, size, transmissionFlags: flags, blockSize, structuredReplies, contextId }
}

function pskOptions(pskFile: string, username: string | undefined): NbdTlsOptions {
  return { pskFile, ...(username !== undefined && { username }) }
}

/** TLS that can leave for the data thread, which Node's own cannot. */
async function prepareTls(tls: NbdTlsOptions, host: string | undefined): Promise<TlsStarter> {
  const { pskFile, username, hostname = host, ...certificates } = tls
  const identity =
    pskFile === undefined ? { hostname, ...certificates } : await readPsk(pskFile, username)
  // A file that cannot be used shall be known before anything is connected.
  TlsConnection.client(identity).free()
  return socket => startTls(socket as Socket, TlsConnection.client(identity))
}
