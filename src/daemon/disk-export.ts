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
  /** Throws if the path leads elsewhere by now. */
  readonly check: () => void
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
    const { command, path, name, keyFile, ports, logFile, started, check } = this.#options
    check()
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
    try {
      this.#port = await this.#listening(child)
    } catch (error) {
      // One that comes up later would write to the disk, and nobody would know of it.
      child.kill('SIGKILL')
      if (this.#mark !== undefined) await endProcess(this.#mark)
      throw error
    }
    const ended = (): void => {
      const { exitCode, signalCode } = child
      if (this.#isClosed) return
      this.#options.log.warn({ path, exitCode, signalCode }, 'export ended')
      void this.#restart()
    }
    if (child.exitCode !== null || child.signalCode !== null) ended()
    else child.on('exit', ended)
  }

  /** The port, once it listens; or why it does not. */
  async #listening(child: ChildProcess): Promise<number> {
    const { path } = this.#options
    const refuse = (why: string): ControlError =>
      ControlError.refuse('refused', `${path} cannot be exported: ${why}`)
    const answer = new Promise<string>((resolve, reject) => {
      child.on('error', error => reject(refuse(error.message)))
      // What it has printed comes before this.
      child.on('close', (code, signal) => reject(refuse(`it ended with ${code ?? signal}`)))
      if (child.stdout !== null) createInterface({ input: child.stdout }).once('line', resolve)
    })
    const late = (): Error =>
      ControlError.refuse('timeout', `${path} is not exported within ${START_MS_MAX} ms`)
    const line = await within(START_MS_MAX, answer, late)
    const said = JSON.parse(line) as { listening?: string[]; error?: { message: string } }
    if (said.error !== undefined) throw refuse(said.error.message)
    return Number(new URL(said.listening?.[0] ?? '').port)
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
    this.#options.check()
    const file = await open(this.#options.path, 'r+')
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }
}
