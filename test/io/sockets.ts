/** Connected sockets for tests: one end for an engine, the other for the test. */
import { once } from 'node:events'
import net from 'node:net'
import type { Engine, EngineSocket } from '../../src/io/engine.ts'
import { check, duplicate, socketpair } from '../../src/io/libc.ts'

export interface Pair {
  readonly socket: EngineSocket
  readonly peer: net.Socket
}

/** A unix socket pair; the peer is Node's. */
export function unixPair(engine: Engine): Pair {
  const [ours, theirs] = socketpair()
  const peer = new net.Socket({ fd: theirs, allowHalfOpen: true })
  peer.on('error', () => {})
  return { socket: engine.openSocket(ours), peer }
}

/** A unix socket pair with both ends in the engine. */
export function enginePair(engine: Engine): [EngineSocket, EngineSocket] {
  const [ours, theirs] = socketpair()
  return [engine.openSocket(ours), engine.openSocket(theirs)]
}

/** TCP on loopback; the engine's end was accepted by Node, and is non-blocking as such fds are. */
export async function tcpPair(engine: Engine): Promise<Pair> {
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const peer = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  peer.on('error', () => {})
  const [accepted] = (await once(server, 'connection')) as [
    net.Socket & { _handle: { fd: number } },
  ]
  const fd = check(duplicate(accepted._handle.fd), 'fcntl')
  accepted.destroy()
  server.close()
  if (peer.connecting) await once(peer, 'connect')
  return { socket: engine.openSocket(fd), peer }
}
