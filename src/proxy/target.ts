/**
 * The control thread's part of reaching a mirror's target: name resolution, TLS and haggling, which
 * may take their time. The data thread gets a connection that is ready for its first request.
 */
import { openSession, ProtocolError, parseNbdUri } from 'nbd-client-ts'
import { check, close } from '../io/libc.ts'
import { takeOver } from '../nbd/handshake-stream.ts'
import type { TargetConnection } from './calls.ts'

/** Longest wait for a target to answer the whole handshake. */
export const TARGET_TIMEOUT_MS = 10_000

/** Connects and haggles. Rejects with the package's own errors, or SyntaxError for a bad URI. */
export async function connectTarget(target: {
  uri: string
  tlsPskFile: string | undefined
}): Promise<TargetConnection> {
  const { username } = parseNbdUri(target.uri)
  const tls =
    target.tlsPskFile === undefined ? {} : { tls: pskOptions(target.tlsPskFile, username) }
  const session = await openSession(target.uri, { handshakeTimeoutMs: TARGET_TIMEOUT_MS, ...tls })
  const { fd, leftover } = takeOver(session.stream, session.leftover)
  if (leftover.length > 0) {
    check(close(fd), 'close')
    throw new ProtocolError('after the handshake', 'silence', `${leftover.length} bytes`)
  }
  const { size, flags, blockSize, structuredReplies, contexts } = session.result
  const contextId = contexts[0]?.id
  return { fd, size, transmissionFlags: flags, blockSize, structuredReplies, contextId }
}

function pskOptions(pskFile: string, username: string | undefined) {
  return { pskFile, ...(username !== undefined && { username }) }
}
