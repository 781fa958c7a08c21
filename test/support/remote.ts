/** From a unix socket to a remote device, with the handshake on the way. */
import { openSession } from 'nbd-client-ts'
import { openRemote, type RemoteDevice } from '../../src/block/remote.ts'
import type { RemoteOptions } from '../../src/block/remote-info.ts'
import type { Engine } from '../../src/io/engine.ts'
import { takeOver } from '../../src/nbd/handshake-stream.ts'

export async function connectRemote(
  engine: Engine,
  socket: string,
  options: Partial<RemoteOptions> & { plain?: boolean } = {},
): Promise<RemoteDevice> {
  const { plain = false, ...rest } = options
  const session = await openSession(`nbd+unix:///?socket=${encodeURIComponent(socket)}`, {
    structuredReplies: !plain,
    contexts: plain ? [] : ['base:allocation'],
  })
  const { size, flags, blockSize, structuredReplies, contexts } = session.result
  const info = {
    size,
    transmissionFlags: flags,
    blockSize,
    structuredReplies,
    contextId: contexts[0]?.id,
  }
  const { fd } = takeOver(session.stream, session.leftover)
  return openRemote({ engine, fd, info, requestTimeoutMs: 5000, ...rest })
}
