// Real NBD servers as child processes on Unix sockets, each stopped by its pid. A test whose tool
// is missing is skipped, and says which.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describe } from 'vitest'

const START_TIMEOUT_MS = 10_000

/** `describe` if all tools are installed, else a skipped one that names those that are not. */
export function describeWith(tools: readonly string[], name: string, body: () => void): void {
  const missing = tools.filter(tool => !isInstalled(tool))
  if (missing.length === 0) describe(name, body)
  else describe.skip(`${name} (not installed: ${missing.join(', ')})`, body)
}

export function isInstalled(tool: string): boolean {
  const path = (process.env.PATH ?? '').split(':').concat('/usr/sbin', '/sbin')
  return path.some(directory => existsSync(join(directory, tool)))
}

/** A directory that goes away when disposed. */
export class TemporaryDirectory implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), 'nbd-client-ts-'))

  file(name: string, content: string | Uint8Array = ''): string {
    const path = join(this.path, name)
    writeFileSync(path, content)
    return path
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}

/** A server process that listens on `socketPath`. */
export class ServerProcess implements AsyncDisposable {
  readonly socketPath: string
  readonly #child: ChildProcess
  readonly #directory: TemporaryDirectory
  #stderr = ''

  private constructor(command: (directory: TemporaryDirectory, socketPath: string) => string[]) {
    this.#directory = new TemporaryDirectory()
    this.socketPath = join(this.#directory.path, 'nbd.sock')
    const [program = '', ...parameters] = command(this.#directory, this.socketPath)
    this.#child = spawn(program, parameters, { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#child.stderr?.on('data', bytes => {
      this.#stderr += bytes
    })
  }

  /** Starts the command that `command` returns and waits until its socket is there. */
  static async start(
    command: (directory: TemporaryDirectory, socketPath: string) => string[],
  ): Promise<ServerProcess> {
    const server = new ServerProcess(command)
    for (let waited = 0; !existsSync(server.socketPath); waited += 20) {
      if (waited > START_TIMEOUT_MS || server.#child.exitCode !== null) {
        throw new Error(`server did not start: ${server.#stderr}`)
      }
      await delay(20)
    }
    return server
  }

  static nbdkit(...parameters: string[]): Promise<ServerProcess> {
    return ServerProcess.start((_directory, socketPath) => [
      'nbdkit',
      '--foreground',
      '--unix',
      socketPath,
      ...parameters,
    ])
  }

  uri(exportName = '', query = '', scheme = 'nbd+unix', user = ''): string {
    return `${scheme}://${user}/${exportName}?socket=${this.socketPath}${query}`
  }

  /** Ends the process at once, as a crash would. */
  async kill(): Promise<void> {
    await this.#stop('SIGKILL')
  }

  async #stop(signal: NodeJS.Signals): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill(signal)
    await once(this.#child, 'exit')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop('SIGTERM')
    this.#directory[Symbol.dispose]()
  }
}

/** Makes a key file for TLS-PSK with GnuTLS's own tool. */
export function makePskFile(directory: TemporaryDirectory, username: string): string {
  const path = join(directory.path, 'keys.psk')
  execFileSync('psktool', ['-u', username, '-p', path], { stdio: 'ignore' })
  return path
}
