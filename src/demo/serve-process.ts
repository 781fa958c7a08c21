/**
 * A `blkferry serve` of our own, as a real process with its control socket. Whoever starts it must
 * stop or kill it; what it logs is kept for the one who must explain its end.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The built command; this file is as deep in src as in dist. */
export const BLKFERRY = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

const START_MS_MAX = 20_000
const STOP_MS_MAX = 20_000
const LOG_CHARACTERS_MAX = 64 * 1024

export interface ServeOptions {
  readonly path: string
  /** NBD URI to listen on. */
  readonly listen: string
  readonly control?: string
  /** More words of the command line. */
  readonly words?: readonly string[]
}

export class ServeProcess implements AsyncDisposable {
  readonly #child: ChildProcess
  #log = ''
  #uri = ''
  /** Settles with the exit code, or null after a signal. */
  readonly ended: Promise<number | null>

  private constructor({ path, listen, control, words = [] }: ServeOptions) {
    const controlWords = control === undefined ? [] : ['--control', control]
    const argv = [BLKFERRY, 'serve', path, '--listen', listen, ...controlWords, '--json', ...words]
    const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#log = (this.#log + text).slice(-LOG_CHARACTERS_MAX)
    })
    this.ended = new Promise(resolve => child.on('exit', code => resolve(code)))
    this.#child = child
  }

  /** Starts the process; `listening` must be awaited before anybody can connect. */
  static spawn(options: ServeOptions): ServeProcess {
    return new ServeProcess(options)
  }

  /** Resolves once it listens; rejects with its own sentence if it does not. */
  static async start(options: ServeOptions): Promise<ServeProcess> {
    const serve = ServeProcess.spawn(options)
    await serve.listening()
    return serve
  }

  /** Where clients connect. */
  get uri(): string {
    return this.#uri
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** The end of what it logged. */
  get log(): string {
    return this.#log
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Soft shutdown, and after a while the other one. */
  async stop(): Promise<void> {
    this.kill('SIGTERM')
    this.kill('SIGCONT')
    const timer = setTimeout(() => this.kill('SIGKILL'), STOP_MS_MAX)
    await this.ended
    clearTimeout(timer)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  /** Settles as `start` does. */
  async listening(): Promise<void> {
    try {
      this.#uri = await this.#firstLine()
    } catch (error) {
      this.kill('SIGKILL')
      throw error
    }
  }

  #firstLine(): Promise<string> {
    return new Promise((resolve, reject) => {
      let text = ''
      const timer = setTimeout(
        () => reject(new Error(`serve did not listen within ${START_MS_MAX / 1000} s`)),
        START_MS_MAX,
      )
      this.#child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
        const end = text.indexOf('\n')
        if (end === -1) return
        clearTimeout(timer)
        const { listening, error } = JSON.parse(text.slice(0, end)) as Partial<ServeLine>
        if (listening?.[0] !== undefined) resolve(listening[0])
        else reject(new Error(error?.message ?? text))
      })
      this.#child.on('exit', code => {
        clearTimeout(timer)
        reject(new Error(`serve ended with ${code}: ${text}${this.#log}`))
      })
    })
  }
}

interface ServeLine {
  readonly listening: readonly string[]
  readonly error: { readonly message: string }
}
