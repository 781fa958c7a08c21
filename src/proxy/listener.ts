/**
 * One address that clients connect to. A dead unix socket file in the way is replaced; a live one,
 * or anything that is not a socket, is an error.
 */
import { lstatSync, unlinkSync } from 'node:fs'
import * as net from 'node:net'
import { formatNbdUri, type NbdUri } from 'nbd-client-ts'
import { SOCKET_PATH_BYTES_MAX } from '../control/socket-path.ts'
import { ServeError } from './serve-error.ts'

export interface Listener {
  /** Where it really listens, with the port that the kernel chose. */
  readonly uri: NbdUri
  /** Takes no more clients, removes the socket file. Connections made before stay. */
  close(): Promise<void>
}

/**
 * Listens; throws `ServeError` with what to do when it cannot. `failed` hears of what goes wrong
 * later, as when there is no file descriptor left for a client; it listens on.
 */
export async function listen(
  uri: NbdUri,
  connected: (socket: net.Socket) => void,
  failed: (error: Error) => void,
): Promise<Listener> {
  const server = net.createServer({ noDelay: true, keepAlive: true }, connected)
  const { socketPath } = uri
  if (socketPath !== undefined) await removeDead(socketPath)
  await new Promise<void>((resolve, reject) => {
    const refused = (error: Error) => {
      const remedy = 'choose another address or stop what uses it'
      reject(new ServeError(`cannot listen on ${formatNbdUri(uri)} (${code(error)}): ${remedy}`))
    }
    server.once('error', refused)
    const where =
      socketPath === undefined ? { host: uri.host, port: uri.port } : { path: socketPath }
    // listen() binds before it returns: nobody but the owner can connect to the socket file.
    const before = process.umask(0o077)
    try {
      server.listen(where, () => {
        server.off('error', refused).on('error', failed)
        resolve()
      })
    } finally {
      process.umask(before)
    }
  })
  const { port } = (server.address() as net.AddressInfo | null) ?? { port: undefined }
  return {
    uri: socketPath === undefined && port !== undefined ? { ...uri, port } : uri,
    // The server's own end would wait for every client that it has accepted.
    close: async () => {
      server.close()
    },
  }
}

async function removeDead(path: string): Promise<void> {
  // Node would cut it short, and listen under another name.
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    const limit = `${SOCKET_PATH_BYTES_MAX} bytes`
    throw new ServeError(`${path} is longer than a socket's path may be (${limit}): shorten it`)
  }
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket())
    throw new ServeError(`${path} exists and is not a socket: choose another path`)
  const answer = await new Promise<string>(resolve => {
    const socket = net.connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve('alive')
    })
    socket.once('error', error => resolve(code(error)))
  })
  if (answer !== 'ECONNREFUSED') {
    throw new ServeError(`${path} is in use by a running server (${answer}): choose another path`)
  }
  unlinkSync(path)
}

function code(error: Error): string {
  return 'code' in error ? String(error.code) : error.message
}
