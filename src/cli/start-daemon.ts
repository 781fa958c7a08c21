/**
 * Connects to the host's daemon, and starts it if nobody answers: through systemd's socket where
 * systemd runs, otherwise as a process of its own. That one must have nothing of its starter's,
 * which may be a hotplug script that libxl waits for: own session, root folder, no open files
 * (Node marks those it inherited close-on-exec), and of the environment only what it needs. Few
 * imports, since the hotplug script loads them inside a guest's downtime.
 */
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { ControlError } from '../control/control-error.ts'
import { connectPath } from '../control/socket-path.ts'
import { DAEMON_SOCKET } from '../daemon/messages.ts'

/** From its start to the first answer; about three seconds on a slow machine. */
const START_MS_MAX = 15_000
const CONNECT_MS_MAX = 5000
const POLL_MS = 100
/** All that a daemon writes before its log works. */
const LOG_FILE = '/var/log/blkferry.log'
const KEPT = ['PATH', 'LANG', 'BLKFERRY_SOCKET'] as const
/** The system's calls on device-mapper block a thread each. */
const THREADS = '32'

/** Where the daemon listens; the environment says so where it is not the usual place. */
export function daemonSocket(): string {
  return process.env.BLKFERRY_SOCKET ?? DAEMON_SOCKET
}

/** Rejects with `ControlError` closed if the daemon neither answers nor starts. */
export async function connectDaemon(path: string = daemonSocket()): Promise<Socket> {
  const first = await connectPath(path, CONNECT_MS_MAX).catch(refusalOf)
  if (!(first instanceof ControlError)) return first
  await startDaemon(path)
  for (let leftMs = START_MS_MAX; ; leftMs -= POLL_MS) {
    const socket = await connectPath(path, CONNECT_MS_MAX).catch(refusalOf)
    if (!(socket instanceof ControlError)) return socket
    if (leftMs <= 0) {
      const advice = `see ${LOG_FILE}, or run blkferry daemon by hand`
      throw new ControlError('closed', `the daemon did not start: ${advice}`, { cause: socket })
    }
    await sleep(POLL_MS)
  }
}

/** That nobody is there; anything else is for the caller. */
function refusalOf(error: unknown): ControlError {
  const cause = error instanceof ControlError ? error.cause : undefined
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (error instanceof ControlError && (code === 'ENOENT' || code === 'ECONNREFUSED')) return error
  throw error
}

async function startDaemon(path: string): Promise<void> {
  const { closeSync, existsSync, mkdirSync, openSync } = await import('node:fs')
  const { spawn, spawnSync } = await import('node:child_process')
  if (path === DAEMON_SOCKET && existsSync('/run/systemd/system')) {
    const { status } = spawnSync('systemctl', ['start', 'blkferry.socket'], { stdio: 'ignore' })
    if (status === 0) return
  }
  const { dirname } = await import('node:path')
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const log = openSync(path === DAEMON_SOCKET ? LOG_FILE : `${path}.log`, 'a', 0o600)
  try {
    const main = new URL('main.js', import.meta.url).pathname
    const kept = KEPT.flatMap(name => {
      const value = process.env[name]
      return value === undefined ? [] : [[name, value]]
    })
    const daemon = spawn(process.execPath, [main, 'daemon', '--socket', path], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log, log],
      env: { UV_THREADPOOL_SIZE: THREADS, ...Object.fromEntries(kept) },
    })
    daemon.on('error', () => {})
    daemon.unref()
  } finally {
    closeSync(log)
  }
}
