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
/** For a daemon of somebody else's to listen, when ours has ended. */
const OTHER_MS_MAX = 3000
/** How a command's own sentence begins. */
const SPEAKER = 'blkferry: '
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
  const started = await startDaemon(path)
  let leftMs = START_MS_MAX
  for (;;) {
    const socket = await connectPath(path, CONNECT_MS_MAX).catch(refusalOf)
    if (!(socket instanceof ControlError)) return socket
    // It may have met one that somebody else started and that does not listen yet.
    if (started.hasEnded) leftMs = Math.min(leftMs, OTHER_MS_MAX)
    if (leftMs <= 0) {
      throw new ControlError('closed', `the daemon did not start: ${started.why()}`, {
        cause: socket,
      })
    }
    await sleep(POLL_MS)
    leftMs -= POLL_MS
  }
}

/** That nobody is there; anything else is for the caller. */
function refusalOf(error: unknown): ControlError {
  const cause = error instanceof ControlError ? error.cause : undefined
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (error instanceof ControlError && (code === 'ENOENT' || code === 'ECONNREFUSED')) return error
  throw error
}

interface Started {
  hasEnded: boolean
  /** What it said last, or where to look. */
  why(): string
}

async function startDaemon(path: string): Promise<Started> {
  const { closeSync, existsSync, mkdirSync, openSync, readFileSync } = await import('node:fs')
  const { spawn, spawnSync } = await import('node:child_process')
  if (path === DAEMON_SOCKET && existsSync('/run/systemd/system')) {
    const { status } = spawnSync('systemctl', ['start', 'blkferry.socket'], { stdio: 'ignore' })
    const why = () => 'see systemctl status blkferry.socket blkferry.service'
    if (status === 0) return { hasEnded: false, why }
  }
  const { dirname } = await import('node:path')
  const logFile = path === DAEMON_SOCKET ? LOG_FILE : `${path}.log`
  const log = openLog()
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
    const started: Started = {
      hasEnded: false,
      why: () => {
        const last = readFileSync(logFile, 'utf8').trimEnd().split('\n').at(-1) ?? ''
        const said = started.hasEnded && last.startsWith(SPEAKER) ? last.slice(SPEAKER.length) : ''
        return said === '' ? `see ${logFile}, or run blkferry daemon by hand` : said
      },
    }
    const ended = (): void => {
      started.hasEnded = true
    }
    daemon.on('error', ended)
    daemon.on('exit', ended)
    daemon.unref()
    return started
  } finally {
    closeSync(log)
  }

  function openLog(): number {
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
      return openSync(logFile, 'a', 0o600)
    } catch (error) {
      const problem = `cannot start the daemon (${(error as Error).message})`
      throw new ControlError('closed', `${problem}: run this as root`, { cause: error })
    }
  }
}
