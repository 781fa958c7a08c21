/** A command line run in this process, with its output, signals and exits caught. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import type { Context } from '../../src/cli/command.ts'
import type { ExitCode } from '../../src/cli/exit-codes.ts'
import { Output } from '../../src/cli/output.ts'
import { asksFor, run } from '../../src/cli/run.ts'
import { listenControl } from '../../src/control/channel.ts'
import type { ControlHandlers } from '../../src/control/server-connection.ts'

export interface Caught {
  exitCode: ExitCode
  stdout: string
  stderr: string
}

export class CaughtContext implements Context {
  readonly output: Output
  readonly exits: ExitCode[] = []
  stdout = ''
  stderr = ''
  #received: ((signal: string) => void) | undefined

  constructor({ isJson = false, isTTY = false, columns = 80 } = {}) {
    const stdout = {
      write: (text: string) => {
        this.stdout += text
      },
      isTTY,
      columns,
    }
    const stderr = {
      write: (text: string) => {
        this.stderr += text
      },
    }
    this.output = new Output({ stdout, stderr }, { isJson })
  }

  onSignal(received: (signal: string) => void): () => void {
    this.#received = received
    return () => {
      this.#received = undefined
    }
  }

  exit(exitCode: ExitCode): void {
    this.exits.push(exitCode)
  }

  get isListening(): boolean {
    return this.#received !== undefined
  }

  signal(signal: string): void {
    if (this.#received === undefined) throw new Error('nobody listens to signals')
    this.#received(signal)
  }
}

export async function blkferry(words: readonly string[], terminal = {}): Promise<Caught> {
  const context = new CaughtContext({ isJson: asksFor('--json', words), ...terminal })
  const exitCode = await run(words, context)
  return { exitCode, stdout: context.stdout, stderr: context.stderr }
}

/** Runs `use` while a proxy with these handlers answers on the path it is given. */
export async function withProxy(
  handlers: ControlHandlers,
  use: (path: string) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'cli-'))
  const path = join(folder, 'sock')
  const server = await listenControl(path, handlers, pino({ level: 'silent' }))
  try {
    await use(path)
  } finally {
    await server.close()
    rmSync(folder, { recursive: true })
  }
}
