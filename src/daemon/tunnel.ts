/**
 * One TCP port of the other host as a unix socket of ours, through an ssh of its own: a disk must
 * not share a connection, and a cipher's one core, with the guest's memory. It is started again
 * when it ends, as after a lost link, until it is closed. A daemon that dies takes it along: `cat`
 * there ends with the pipe that we hold, and ssh follows when the disk's connection has ended.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ControlError } from '../control/control-error.ts'

export interface TunnelOptions {
  readonly argv: readonly [string, ...string[]]
  readonly environment: Readonly<Record<string, string>>
  readonly socketPath: string
}

const START_MS_MAX = 20_000
const POLL_MS = 50
const RESTART_MS = 1000
/** After its input has ended; then it is killed. */
const END_MS_MAX = 2000
/** What ssh says, for the error's sentence (characters). */
const SAID_MAX = 500

export class Tunnel {
  readonly #options: TunnelOptions
  #child: ChildProcess | undefined
  #exited: Promise<void> = Promise.resolve()
  #isClosed = false
  #said = ''

  private constructor(options: TunnelOptions) {
    this.#options = options
  }

  /** Settles once something may connect. Rejects with `ControlError` unreachable. */
  static async open(options: TunnelOptions): Promise<Tunnel> {
    const tunnel = new Tunnel(options)
    tunnel.#start()
    for (let leftMs = START_MS_MAX; !existsSync(options.socketPath); leftMs -= POLL_MS) {
      if (leftMs > 0 && tunnel.#child !== undefined) {
        await sleep(POLL_MS)
        continue
      }
      await tunnel.close()
      const why = tunnel.#said.trim() || `no tunnel within ${START_MS_MAX / 1000} s`
      const remedy = 'allow forwarding in its sshd, or leave out --tunnel'
      throw ControlError.refuse('unreachable', `ssh makes no tunnel (${why}): ${remedy}`)
    }
    return tunnel
  }

  #start(): void {
    const { argv, environment } = this.#options
    const [program, ...words] = argv
    const child = spawn(program, words, {
      stdio: ['pipe', 'ignore', 'pipe'],
      detached: true,
      env: { ...process.env, ...environment },
    })
    this.#child = child
    child.stdin.on('error', () => {})
    child.stderr.on('data', (chunk: Buffer) => {
      this.#said = (this.#said + chunk.toString()).slice(-SAID_MAX)
    })
    this.#exited = new Promise(resolve => {
      const gone = (): void => {
        this.#child = undefined
        resolve()
      }
      child.on('error', gone)
      child.on('exit', gone)
    })
    void this.#exited.then(() => this.#startAgain())
  }

  /** Not before it has worked once: what never did says why instead. */
  async #startAgain(): Promise<void> {
    if (this.#isClosed || !existsSync(this.#options.socketPath)) return
    await sleep(RESTART_MS, undefined, { ref: false })
    if (!this.#isClosed) this.#start()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const child = this.#child
    if (child === undefined) return
    child.stdin?.end()
    await Promise.race([this.#exited, sleep(END_MS_MAX)])
    child.kill('SIGKILL')
    await this.#exited
  }
}
