/** Runs a tool of the system to its end. */
import { startChild } from './child.ts'

const KEPT_CHARACTERS = 1024 * 1024
const TOOL_MS_MAX = 300_000

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Resolves whatever the exit code is; rejects if the tool cannot be started or takes minutes. */
export function runTool(argv: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Finished> {
  const child = startChild(argv, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const texts = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      texts[name] = (texts[name] + text).slice(-KEPT_CHARACTERS)
    })
  }
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`${argv[0]} did not end within ${TOOL_MS_MAX / 1000} s`))
    }, TOOL_MS_MAX)
    child.on('error', error => {
      clearTimeout(timer)
      reject(error)
    })
    child.on('close', code => {
      clearTimeout(timer)
      resolve({ code, ...texts })
    })
  })
}

/** Like runTool, but rejects with what the tool said unless it ends with exit code 0. */
export async function mustRun(
  argv: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<string> {
  const { code, stdout, stderr } = await runTool(argv, env)
  if (code === 0) return stdout
  throw new Error(`${argv[0]} ended with ${code}: ${(stderr || stdout).trim()}`)
}
