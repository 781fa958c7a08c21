/**
 * The file of a control socket: who may open it, and whether one that is there already is alive.
 * The socket is made under a umask, so at no moment can anybody but its owner connect. Two
 * processes that take over the same dead socket in the same instant are not told apart; each disk
 * has its own path.
 */
import { lstatSync, unlinkSync } from 'node:fs'
import { createConnection, type Server, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { ControlError } from './control-error.ts'

/**
 * Where a process tries itself out that will have this control socket: beside it. It removes the
 * folder; if it is killed meanwhile, whoever has started it does.
 */
export function rehearsalFolder(control: string, pid: number): string {
  return join(dirname(control), `rehearsal-${pid}`)
}

/** sun_path of Linux, less the NUL. */
export const SOCKET_PATH_BYTES_MAX = 107

/** Connects; rejects with `ControlError` closed, naming the path and what to do. */
export async function connectPath(path: string, timeoutMs: number): Promise<Socket> {
  assertLength(path)
  const socket = createConnection(path)
  return await new Promise<Socket>((resolve, reject) => {
    const fail = (error: unknown) => {
      socket.destroy()
      reject(new ControlError('closed', unreachable(path, error), { cause: error }))
    }
    const timer = setTimeout(() => fail(new Error('no answer')), timeoutMs)
    socket.once('error', error => {
      clearTimeout(timer)
      fail(error)
    })
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.removeAllListeners('error')
      resolve(socket)
    })
  })
}

/** Listens with mode 0600, in place of a dead socket if there is one. Rejects with refused. */
export async function listenPath(server: Server, path: string, timeoutMs: number): Promise<void> {
  assertLength(path)
  await removeDeadSocket(path, timeoutMs)
  await new Promise<void>((resolve, reject) => {
    server.once('error', error => {
      const message = `cannot make the control socket ${path} (${codeOf(error)}): ${LISTEN_ADVICE}`
      reject(new ControlError('refused', message, { cause: error }))
    })
    // listen() binds before it returns, so the umask is ours for the whole of it.
    const before = process.umask(0o177)
    try {
      server.listen(path, () => {
        server.removeAllListeners('error')
        resolve()
      })
    } finally {
      process.umask(before)
    }
  })
}

const LISTEN_ADVICE = 'give a path in an existing directory that you may write to'

async function removeDeadSocket(path: string, timeoutMs: number): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw taken(path, 'exists and is not a socket')
  const socket = await connectPath(path, timeoutMs).catch((error: ControlError) => error)
  if (!(socket instanceof ControlError)) {
    socket.destroy()
    throw taken(path, 'is in use by a running process')
  }
  if (codeOf(socket.cause) !== 'ECONNREFUSED') {
    throw taken(path, `exists and cannot be checked (${codeOf(socket.cause)})`)
  }
  unlinkSync(path)
}

function taken(path: string, how: string): ControlError {
  return new ControlError('refused', `control socket ${path} ${how}: choose another path`)
}

function unreachable(path: string, error: unknown): string {
  const code = codeOf(error)
  if (code === 'EACCES') return `control socket ${path} belongs to another user: run as that user`
  const remedy = 'start blkferry serve with this --control path, or correct the path'
  if (code === 'ENOENT') return `there is no control socket ${path}: ${remedy}`
  return `nobody answers on the control socket ${path} (${code}): ${remedy}`
}

function codeOf(error: unknown): string {
  if (error instanceof Error && 'code' in error) return String(error.code)
  return error instanceof Error ? error.message : String(error)
}

function assertLength(path: string): void {
  const length = Buffer.byteLength(path)
  if (length >= 1 && length <= SOCKET_PATH_BYTES_MAX) return
  const limits = `1 to ${SOCKET_PATH_BYTES_MAX}`
  const message = `control socket path has ${length} bytes: give one of ${limits}`
  throw new ControlError('refused', message)
}
