/** The loads of fixtures/fio against a server. */
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const FOLDER = fileURLToPath(new URL('../../fixtures/fio', import.meta.url))

/** Names without `.fio`. */
export const FIXTURES: readonly string[] = readdirSync(FOLDER)
  .filter(name => name.endsWith('.fio'))
  .map(name => name.slice(0, -4))

export interface FixtureOptions {
  /** Area that is written; some fixtures use a second one behind it. */
  readonly size?: string
  readonly loops?: number
  /** Seconds; 0 for no limit. */
  readonly runtime?: number
  readonly rate?: number
  /** Read back and check in the end. */
  readonly verify?: boolean
  /** Only check what an earlier run has written. */
  readonly verifyOnly?: boolean
}

/** Runs a fixture to its end. */
export function runFixture(
  name: string,
  uri: string,
  { size = '8M', loops = 1, runtime = 0, rate = 0, verify = true, verifyOnly }: FixtureOptions = {},
): Promise<{ code: number; output: string }> {
  const env = {
    ...process.env,
    URI: uri,
    SIZE: size,
    LOOPS: String(loops),
    RUNTIME: String(runtime),
    RATE: String(rate),
    VERIFY: verify ? '1' : '0',
  }
  const argv = [...(verifyOnly ? ['--verify_only'] : []), `${FOLDER}/${name}.fio`]
  return new Promise(resolve => {
    execFile('fio', argv, { env, timeout: 60_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1
      resolve({ code, output: stdout + stderr })
    })
  })
}
