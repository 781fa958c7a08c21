/**
 * Runs a command to its end: no shell, a deadline, a limit on what it may print. The command is the
 * leader of a process group of its own, so that a Ctrl-C for us is none for it, and so that what it
 * started goes with it when time is up. Output is UTF-8 text.
 */
import { type ChildProcess, spawn } from 'node:child_process'

export interface CommandOptions {
  /** Longest run (ms). */
  readonly timeoutMs?: number
  /** Longest output, of stdout and of stderr each (bytes). */
  readonly outputBytesMax?: number
  /** What it reads from stdin; nothing if left out. */
  readonly input?: string
  /** Added to our own environment. */
  readonly environment?: Readonly<Record<string, string>>
}

export interface CommandOutput {
  readonly stdout: string
  readonly stderr: string
}

export const COMMAND_TIMEOUT_MS = 30_000
export const OUTPUT_BYTES_MAX = 4 * 1024 * 1024
/** After SIGTERM, until SIGKILL (ms). */
const GRACE_MS = 2000
/** stderr in an error's message (characters). */
const QUOTED_MAX = 500

/** `exit`: its code is not 0. `signal`: killed by another. `missing`: there is no such program. */
export type CommandFailure = 'exit' | 'signal' | 'timeout' | 'output' | 'missing' | 'start'

export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly argv: readonly string[]
  readonly code: CommandFailure
  /** Undefined if it did not exit by itself. */
  readonly exitCode: number | undefined
  readonly stderr: string

  constructor(
    argv: readonly string[],
    code: CommandFailure,
    problem: string,
    details: { exitCode?: number | undefined; stderr?: string; cause?: unknown } = {},
  ) {
    const { exitCode, stderr = '', cause } = details
    const quoted = stderr.trim().slice(-QUOTED_MAX)
    super(`${argv[0]}: ${problem}${quoted === '' ? '' : `: ${quoted}`}`, { cause })
    this.argv = argv
    this.code = code
    this.exitCode = exitCode
    this.stderr = stderr
  }
}

/** Throws CommandError for everything but an exit with 0. */
export function runCommand(
  argv: readonly [string, ...string[]],
  options: CommandOptions = {},
): Promise<CommandOutput> {
  const { timeoutMs = COMMAND_TIMEOUT_MS, outputBytesMax = OUTPUT_BYTES_MAX } = options
  return new Promise((resolve, reject) => {
    const [program, ...words] = argv
    const child = spawn(program, words, {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...options.environment },
    })
    let failure: [CommandFailure, string] | undefined
    let grace: NodeJS.Timeout | undefined
    const stop = (code: CommandFailure, problem: string): void => {
      if (failure !== undefined) return
      failure = [code, problem]
      signalGroup(child, 'SIGTERM')
      grace = setTimeout(() => signalGroup(child, 'SIGKILL'), GRACE_MS)
    }
    const timer = setTimeout(
      () => stop('timeout', `has not ended in ${timeoutMs} ms and was stopped`),
      timeoutMs,
    )
    const tooMuch = (): void => stop('output', `printed over ${outputBytesMax} bytes`)
    const stdout = collect(child.stdout, outputBytesMax, tooMuch)
    const stderr = collect(child.stderr, outputBytesMax, tooMuch)
    child.stdin.on('error', () => {})
    child.stdin.end(options.input ?? '')
    child.on('error', error => {
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
      const problem = isMissing ? 'no such program; install it' : 'cannot be started'
      settle()
      reject(new CommandError(argv, isMissing ? 'missing' : 'start', problem, { cause: error }))
    })
    // What a child left behind may hold the pipes open: it is not waited for.
    child.on('exit', () => {
      drain = setTimeout(() => {
        child.stdout.destroy()
        child.stderr.destroy()
      }, GRACE_MS)
    })
    let drain: NodeJS.Timeout | undefined
    const settle = (): void => {
      for (const one of [timer, grace, drain]) clearTimeout(one)
    }
    child.on('close', (exitCode, signal) => {
      settle()
      if (failure !== undefined) signalGroup(child, 'SIGKILL')
      const texts = { stdout: stdout(), stderr: stderr() }
      if (failure === undefined && exitCode === 0) {
        resolve(texts)
        return
      }
      const ended = exitCode === null ? `was killed by ${signal}` : `exit code ${exitCode}`
      const [code, problem] = failure ?? [exitCode === null ? 'signal' : 'exit', ended]
      const own = failure === undefined ? (exitCode ?? undefined) : undefined
      reject(new CommandError(argv, code, problem, { exitCode: own, stderr: texts.stderr }))
    })
  })
}

function collect(
  stream: NodeJS.ReadableStream,
  bytesMax: number,
  tooMuch: () => void,
): () => string {
  const chunks: Buffer[] = []
  let bytes = 0
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes <= bytesMax) chunks.push(chunk)
    else tooMuch()
  })
  return () => Buffer.concat(chunks).toString('utf8')
}

/** The command and all that it started and that has not left its group. */
export function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch (error) {
    // Nobody is left.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
