/**
 * The export of one incoming disk: a `blkferry serve` of its own, for this session's key alone. One
 * that dies is started again on the same port, since the mirror at the source tries again; once it
 * has been closed it never comes back, and what it wrote is on the disk.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import type { Logger } from 'pino'
import { ControlError } from '../control/control-error.ts'
import type { ExportPorts } from './export-ports.ts'
import { endProcess, markOf, type ProcessMark } from './processes.ts'
import { within } from './turns.ts'

export interface DiskExportOptions {
  readonly command: readonly [string, ...string[]]
  readonly path: string
  readonly name: string
  /** File with the session's key; undefined: plain TCP. */
  readonly keyFile: string | undefined
  readonly ports: ExportPorts
  readonly logFile: string
  readonly log: Logger
  /** A process was started. */
  readonly started: () => void
}

const START_MS_MAX = 90_000
/** For requests under way; then it is killed. */
const STOP_MS_MAX = 8000
const RESTARTS_MAX = 5
/** The proxy tries again to reach us for longer than this. */
const RESTART_PAUSE_MS = 200
const CONNECTIONS_MAX = 8

export class DiskExport {
  readonly #options: DiskExportOptions
  #child: ChildProcess | undefined
  #mark: ProcessMark | undefined
  #port = 0
  #restarts = 0
  #isClosed = false

  constructor(options: DiskExportOptions) {
    this.#options = options
  }

  get port(): number {
    return this.#port
  }

  get process(): ProcessMark | undefined {
    return this.#mark
  }

  /** Settles once it listens. Rejects with `ControlError` refused. */
  async start(): Promise<void> {
    const { command, path, name, keyFile, ports, logFile, log, started } = this.#options
    if (this.#port === 0) this.#port = await ports.take()
    if (this.#isClosed) {
      ports.giveBack(this.#port)
      throw ControlError.refuse('refused', `${path} is not exported any more`)
    }
    const [program, ...words] = command
    const scheme = keyFile === undefined ? 'nbd' : 'nbds'
    // All addresses of this host: which one the source uses is not known here.
    const listen = `${scheme}://0.0.0.0:${this.#port}`
    const argv = [...words, 'serve', path, '--listen', listen, '--export', name, '--json']
    if (keyFile !== undefined) argv.push('--tls-psk', keyFile)
    argv.push('--max-connections', String(CONNECTIONS_MAX), '--log-level', 'warn')
    const stderr = openSync(logFile, 'a', 0o600)
    const child: ChildProcess = spawn(program, argv, {
      stdio: ['ignore', 'pipe', stderr],
      detached: true,
    })
    closeSync(stderr)
    this.#child = child
    this.#mark = child.pid === undefined ? undefined : markOf(child.pid)
    started()
    const answer = new Promise<string>((resolve, reject) => {
      const failed = (why: string): void =>
        reject(ControlError.refuse('refused', `${path} cannot be exported: ${why}; see ${logFile}`))
      child.on('error', error => failed(error.message))
      child.on('exit', (code, signal) => failed(`blkferry serve ended with ${code ?? signal}`))
      if (child.stdout !== null) createInterface({ input: child.stdout }).once('line', resolve)
    })
    const late = (): Error =>
      ControlError.refuse('timeout', `${path} is not exported within ${START_MS_MAX} ms`)
    const line = await within(START_MS_MAX, answer, late)
    const { listening } = JSON.parse(line) as { listening: string[] }
    this.#port = Number(new URL(listening[0] ?? '').port)
    child.on('exit', (code, signal) => {
      if (this.#isClosed) return
      log.warn({ path, code, signal }, 'export ended')
      void this.#restart()
    })
  }

  async #restart(): Promise<void> {
    while (++this.#restarts <= RESTARTS_MAX) {
      await new Promise(resolve => setTimeout(resolve, RESTART_PAUSE_MS))
      if (this.#isClosed) return
      const failed = (error: Error): Error => error
      const error = await this.start().then(() => undefined, failed)
      if (error === undefined) return
      this.#options.log.error({ err: error }, 'export does not start again')
    }
  }

  /** Nobody writes through it any more. Harmless if done. Throws if the process does not end. */
  async end(): Promise<void> {
    this.#isClosed = true
    this.#child?.kill('SIGTERM')
    try {
      if (this.#mark !== undefined) await endProcess(this.#mark, STOP_MS_MAX)
    } finally {
      this.#options.ports.giveBack(this.#port)
    }
  }

  /** The same, and what was written is durable. */
  async close(): Promise<void> {
    await this.end()
    const file = await open(this.#options.path, 'r+')
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }
}
