/** Runs a tool of the system to its end. Tools of the administrator are found without being one. */
import { spawn } from 'node:child_process'

const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`
const KEPT_CHARACTERS = 4 * 1024 * 1024

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/**
 * Resolves whatever the exit code is; rejects if the tool cannot be started (ENOENT) or `signal`
 * aborts.
 */
export function runTool(argv: readonly string[], signal?: AbortSignal): Promise<Finished> {
  const [command = '', ...rest] = argv
  const env = { ...process.env, PATH, LC_ALL: 'C' }
  const child = spawn(command, rest, {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(signal !== undefined && { signal }),
  })
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      texts[name] = (texts[name] + text).slice(-KEPT_CHARACTERS)
    })
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => resolve({ code, ...texts }))
  })
}

/** Like runTool, but rejects with what the tool said unless it ends with exit code 0. */
export async function mustRun(argv: readonly string[], signal?: AbortSignal): Promise<string> {
  const { code, stdout, stderr } = await runTool(argv, signal)
  if (code === 0) return stdout
  throw new Error(`${argv[0]} ended with ${code}: ${(stderr || stdout).trim()}`)
}

export async function hasTool(name: string): Promise<boolean> {
  return await runTool([name, '-V']).then(
    () => true,
    () => false,
  )
}
