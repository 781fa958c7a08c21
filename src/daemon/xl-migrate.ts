/**
 * The `xl migrate` of a session: a child in a session of its own, so that a Ctrl-C is none for it,
 * whose transport is our relay. What it says goes to a file, for the operator and for the error's
 * sentence.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { shellWord } from '../host/ssh.ts'
import { RELAY_SAYS } from './messages.ts'
import { endProcess, markOf, type ProcessMark } from './processes.ts'

export interface XlMigrateOptions {
  readonly xl: readonly [string, ...string[]]
  /** The operator's, for `xl migrate`. */
  readonly words: readonly string[]
  /** What runs the relay; xl adds the host and its own words. */
  readonly relay: readonly string[]
  readonly domid: number
  readonly host: string
  readonly environment: Readonly<Record<string, string>>
  readonly logFile: string
}

const SAID_MAX = 400
const LINES_MAX = 2
/** What libxc says while all goes well. */
const PASSING = /^xc: (info|progress):/

export class XlMigrate {
  readonly #child: ChildProcess
  readonly #logFile: string
  readonly process: ProcessMark | undefined
  /** Settles with how it ended: `exit code 1`, a signal, or why it did not start; '' if well. */
  readonly exited: Promise<string>

  constructor(options: XlMigrateOptions) {
    const { xl, words, relay, domid, host, environment, logFile } = options
    const [program, ...first] = xl
    const transport = relay.map(shellWord).join(' ')
    const argv = [...first, 'migrate', ...words, '-s', transport, String(domid), host]
    this.#logFile = logFile
    const log = openSync(logFile, 'a', 0o600)
    this.#child = spawn(program, argv, {
      stdio: ['ignore', log, log],
      detached: true,
      env: { ...process.env, ...environment },
    })
    closeSync(log)
    this.process = this.#child.pid === undefined ? undefined : markOf(this.#child.pid)
    this.exited = new Promise(resolve => {
      this.#child.on('error', error => resolve(error.message))
      this.#child.on('exit', (code, signal) =>
        resolve(code === 0 ? '' : (signal ?? `exit code ${code}`)),
      )
    })
  }

  /** What the relays said, or else the last of xl's own, in one line. */
  get said(): string {
    try {
      const lines = readFileSync(this.#logFile, 'utf8').trim().split('\n')
      const relays = lines.filter(line => line.startsWith(RELAY_SAYS))
      const own = lines.filter(line => !PASSING.test(line)).slice(-LINES_MAX)
      const chosen = relays.length > 0 ? new Set(relays) : own
      const words = [...chosen].map(line => line.replace(RELAY_SAYS, '').trim())
      return words.join('; ').slice(-SAID_MAX)
    } catch {
      return ''
    }
  }

  /** Gives it time to end by itself, as its relay has. Throws if it cannot be killed. */
  async end(graceMs: number): Promise<void> {
    if (this.process !== undefined) await endProcess(this.process, graceMs)
  }
}
