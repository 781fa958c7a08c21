/**
 * A process that serves on a unix socket until it is stopped: ours or a peer's. Ready means that
 * the socket takes connections.
 */
import type { ChildProcess, StdioOptions } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { startChild } from './child.ts'

const START_MS_MAX = 30_000
const STOP_MS_MAX = 10_000
const POLL_MS = 2
const LOG_CHARACTERS_MAX = 16 * 1024
export const STANDBY_FD = 3

export class Service implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #ended: Promise<void>
  readonly socket: string
  readonly startedAt: number
  #log = ''
  #isOver = false

  private constructor(argv: readonly string[], socket: string, standsBy: boolean) {
    this.socket = socket
    this.startedAt = performance.now()
    const stdio: StdioOptions = ['ignore', 'ignore', 'pipe', ...(standsBy ? ['pipe' as const] : [])]
    this.#child = startChild(argv, { stdio })
    const turn = this.#child.stdio[STANDBY_FD] as Socket | undefined
    turn?.on('error', () => {}).once('data', () => turn.end('begin\n'))
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#log = (this.#log + text).slice(-LOG_CHARACTERS_MAX)
    })
    this.#ended = new Promise(resolve => {
      const end = (): void => {
        this.#isOver = true
        resolve()
      }
      this.#child.on('exit', end)
      this.#child.on('error', error => {
        this.#log += error.message
        end()
      })
    })
  }

  /**
   * Resolves once `socket` takes connections; rejects with the process's words if it ends. One that
   * `standsBy` has been told to say on STANDBY_FD when it is prepared, and is told to begin then.
   */
  static async start(
    argv: readonly string[],
    socket: string,
    { standsBy = false } = {},
  ): Promise<Service> {
    const service = new Service(argv, socket, standsBy)
    try {
      await service.#answers()
    } catch (error) {
      service.kill('SIGKILL')
      throw error
    }
    return service
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  async killed(): Promise<void> {
    this.kill('SIGKILL')
    await this.#ended
  }

  /** Politely, and after a while the other way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.kill('SIGTERM')
    this.kill('SIGCONT')
    const timer = setTimeout(() => this.kill('SIGKILL'), STOP_MS_MAX)
    await this.#ended
    clearTimeout(timer)
  }

  async #answers(): Promise<void> {
    while (!(await canConnect(this.socket))) {
      if (this.#isOver) throw new Error(`${this.#child.spawnargs[0]} ended: ${this.#log.trim()}`)
      if (performance.now() - this.startedAt > START_MS_MAX) {
        throw new Error(`${this.#child.spawnargs[0]} does not answer on ${this.socket}`)
      }
      await sleep(POLL_MS)
    }
  }
}

function canConnect(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path)
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}
