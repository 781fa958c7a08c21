/** Connected sockets for tests: one end for an engine, the other for the test. With TLS or not. */
import { once } from 'node:events'
import net from 'node:net'
import type { Duplex } from 'node:stream'
import type { Engine, EngineSocket } from '../../src/io/engine.ts'
import { check, duplicate, socketpair } from '../../src/io/libc.ts'
import { takeOver } from '../../src/nbd/handshake-stream.ts'
import { TlsConnection } from '../../src/tls/tls-connection.ts'
import { openStream, type StreamHandle } from '../../src/tls/tls-socket.ts'
import { startTls } from '../../src/tls/tls-stream.ts'

const KEY = Buffer.alloc(32, 7)

export interface Pair {
  readonly socket: EngineSocket
  readonly peer: Duplex
  /** What the peer's bytes go through; the peer itself without TLS. */
  readonly wire: net.Socket
}

/** Kinds of pairs; a suite runs over one. */
export interface Pairs {
  /** A unix socket pair; the peer is Node's. */
  unix(engine: Engine): Promise<Pair>
  /** TCP on loopback; the engine's end was Node's, and is non-blocking as such fds are. */
  tcp(engine: Engine): Promise<Pair>
  /** A unix socket pair with both ends in the engine. */
  both(engine: Engine): Promise<[EngineSocket, EngineSocket]>
}

function unixSockets(): [net.Socket, net.Socket] {
  const [ours, theirs] = socketpair().map(fd => new net.Socket({ fd, allowHalfOpen: true }))
  return [ours!, theirs!]
}

async function tcpSockets(): Promise<[net.Socket, net.Socket]> {
  const server = net.createServer({ pauseOnConnect: true, allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  const theirs = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const [ours] = (await once(server, 'connection')) as [net.Socket]
  server.close()
  if (theirs.connecting) await once(theirs, 'connect')
  return [ours, theirs]
}

function plainPair(engine: Engine, [ours, theirs]: [net.Socket, net.Socket]): Pair {
  theirs.on('error', () => {})
  const { _handle: handle } = ours as unknown as { _handle: { fd: number } }
  const fd = check(duplicate(handle.fd), 'fcntl')
  ours.destroy()
  return { socket: engine.openSocket(fd), peer: theirs, wire: theirs }
}

export const PLAIN: Pairs = {
  unix: async engine => plainPair(engine, unixSockets()),
  tcp: async engine => plainPair(engine, await tcpSockets()),
  both: async engine => {
    const [ours, theirs] = socketpair()
    return [engine.openSocket(ours), engine.openSocket(theirs)]
  },
}

/** Both ends with the handshake behind them, as streams. */
async function secured([ours, theirs]: [net.Socket, net.Socket]): Promise<[Duplex, Duplex]> {
  const server = TlsConnection.server(new Map([['alice', KEY]]))
  const client = TlsConnection.client({ identity: 'alice', key: KEY })
  return await Promise.all([startTls(ours, server), startTls(theirs, client)])
}

const NOTHING = new Uint8Array()

async function securePair(engine: Engine, sockets: [net.Socket, net.Socket]): Promise<Pair> {
  const [ours, peer] = await secured(sockets)
  return { socket: openStream(engine, takeOver(ours, NOTHING)), peer, wire: sockets[1] }
}

/** Both ends of a unix socket pair behind the handshake. */
export async function secureEnds(): Promise<[StreamHandle, StreamHandle]> {
  const [ours, theirs] = await secured(unixSockets())
  return [takeOver(ours, NOTHING), takeOver(theirs, NOTHING)]
}

export const SECURE: Pairs = {
  unix: engine => securePair(engine, unixSockets()),
  tcp: async engine => securePair(engine, await tcpSockets()),
  both: async engine => {
    const [ours, theirs] = await secureEnds()
    return [openStream(engine, ours), openStream(engine, theirs)]
  },
}
