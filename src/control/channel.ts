/**
 * Control over a unix socket: one process per disk listens, commands connect. This file only opens
 * and closes; `ControlClient` asks and `ServerConnection` answers. Every wait here has a named
 * limit.
 */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import type { Logger } from 'pino'
import { ControlClient } from './client.ts'
import { proxyVerbs } from './messages.ts'
import { type ControlHandlers, ServerConnection, STALLED_MS_MAX } from './server-connection.ts'
import { connectPath, listenPath } from './socket-path.ts'
import type { VerbTable, VerbTypes } from './verb-table.ts'

export const CONNECT_MS_MAX = 5000
/** Clients at one time; the next one's connection is closed at once. */
export const CONNECTIONS_MAX = 256
/** How long `close` lets handlers under way send their replies. */
export const CLOSE_MS_MAX = 2000

export interface ControlServer {
  /** Takes no more requests, lets those under way be answered, removes the socket file. */
  close(): Promise<void>
}

/** Connects to a proxy. Rejects with `ControlError` closed if nobody answers on the path. */
export function connectControl(socketPath: string): Promise<ControlClient> {
  return connectVerbs(socketPath, proxyVerbs)
}

/** Connects to whatever serves the verbs of `table` there. Rejects as `connectControl` does. */
export async function connectVerbs<V extends VerbTypes<V>>(
  socketPath: string,
  table: VerbTable<V>,
): Promise<ControlClient<V>> {
  return new ControlClient(await connectPath(socketPath, CONNECT_MS_MAX), table)
}

/** Serves a proxy's verbs; see `listenVerbs`. */
export function listenControl(
  path: string,
  handlers: ControlHandlers,
  log: Logger,
  options: { readonly stalledMs?: number } = {},
): Promise<ControlServer> {
  return listenVerbs(path, { table: proxyVerbs, handlers, log, ...options })
}

/**
 * Serves `handlers` on a socket that only its owner may use. A dead socket file is replaced;
 * rejects with `ControlError` refused if somebody answers on it or the path cannot be used. With
 * `inheritedFd` the socket listens already, as systemd hands it over, and its file is left alone.
 */
export async function listenVerbs<V extends VerbTypes<V>>(
  path: string,
  options: {
    readonly table: VerbTable<V>
    readonly handlers: ControlHandlers<V>
    readonly log: Logger
    readonly stalledMs?: number
    readonly inheritedFd?: number | undefined
  },
): Promise<ControlServer> {
  const { table, handlers, log, stalledMs = STALLED_MS_MAX, inheritedFd } = options
  const connections = new Map<Socket, ServerConnection<V>>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    connections.set(socket, new ServerConnection(socket, table, { handlers, log, stalledMs }))
    socket.on('close', () => connections.delete(socket))
  })
  server.maxConnections = CONNECTIONS_MAX
  if (inheritedFd === undefined) await listenPath(server, path, CONNECT_MS_MAX)
  else await once(server.listen({ fd: inheritedFd }), 'listening')
  server.on('error', error => log.error({ err: error }, 'control socket failed'))

  const close = async (): Promise<void> => {
    const closed = new Promise<void>(resolve => server.close(() => resolve()))
    for (const connection of connections.values()) connection.finish()
    const timer = setTimeout(() => {
      for (const socket of connections.keys()) socket.destroy()
    }, CLOSE_MS_MAX)
    await closed
    clearTimeout(timer)
  }
  return { close }
}
