/**
 * Xenstore through its command line tools, which every dom0 has. Paths are absolute, or relative to
 * the domain that we run in. The tools escape what is not printable; a value that was read is the
 * value that was written.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { CommandError, runCommand, signalGroup } from './run-command.ts'

export const XENSTORE_TIMEOUT_MS = 10_000

const run = (...argv: [string, ...string[]]) => runCommand(argv, { timeoutMs: XENSTORE_TIMEOUT_MS })

/** Undefined if there is no such node. Throws CommandError. */
export async function xenstoreRead(path: string): Promise<string | undefined> {
  try {
    const { stdout } = await run('xenstore-read', '--', path)
    return unescapeValue(stdout.replace(/\n$/, ''))
  } catch (error) {
    if (!isExitOne(error) || (await exists(path))) throw error
    return undefined
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await run('xenstore-exists', '--', path)
    return true
  } catch (error) {
    if (isExitOne(error)) return false
    throw error
  }
}

/** All of them in one transaction. Throws CommandError, and nothing was written. */
export async function xenstoreWrite(values: Readonly<Record<string, string>>): Promise<void> {
  const pairs = Object.entries(values).flatMap(([path, value]) => [path, escapeValue(value)])
  if (pairs.length > 0) await run('xenstore-write', '--', ...pairs)
}

/** Names of the nodes below; empty if there are none or `path` is not there. */
export async function xenstoreList(path: string): Promise<string[]> {
  try {
    const { stdout } = await run('xenstore-list', '--', path)
    return stdout.split('\n').filter(name => name !== '')
  } catch (error) {
    if (!isExitOne(error) || (await exists(path))) throw error
    return []
  }
}

/** Every node below with its value, by absolute path. */
export async function xenstoreTree(path: string): Promise<Map<string, string>> {
  const { stdout } = await run('xenstore-ls', '-f', '--', path)
  const tree = new Map<string, string>()
  for (const line of stdout.split('\n')) {
    const [, node, value] = /^(\/.*?) = "(.*)"\s*$/.exec(line) ?? []
    if (node === undefined || value === undefined) continue
    // The tool cuts values at the width of a terminal, and marks the place.
    const isCut = value.endsWith('\\...')
    const whole = isCut ? await xenstoreRead(node) : unescapeValue(value)
    if (whole !== undefined) tree.set(node, whole)
  }
  return tree
}

export interface XenstoreWatch {
  /** No more calls after it has settled. */
  close(): Promise<void>
}

/**
 * Calls `changed` with each path that changes at or below `path`, once right away as xenstore does,
 * and `ended` if the watch ends by itself: then nothing more will be told.
 */
export function xenstoreWatch(
  path: string,
  changed: (path: string) => void,
  ended: (error: CommandError) => void,
): XenstoreWatch {
  // By itself it would notice the end of whoever reads it only when something changes.
  const argv = ['setpriv', '--pdeathsig', 'TERM', 'xenstore-watch', '--', path] as const
  const [program, ...words] = argv
  const child = spawn(program, words, {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true,
  })
  let isClosed = false
  createInterface({ input: child.stdout }).on('line', line => {
    if (!isClosed) changed(line)
  })
  const gone = new Promise<void>(resolve => {
    child.on('error', error => {
      resolve()
      ended(new CommandError(argv, 'start', 'cannot be started', { cause: error }))
    })
    child.on('close', code => {
      resolve()
      if (isClosed) return
      const exitCode = code ?? undefined
      ended(new CommandError(argv, 'exit', `exit code ${code}`, { exitCode }))
    })
  })
  return {
    close: () => {
      isClosed = true
      signalGroup(child, 'SIGTERM')
      return gone
    },
  }
}

const isExitOne = (error: unknown): boolean =>
  error instanceof CommandError && error.code === 'exit' && error.exitCode === 1

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '\\': '\\' }

/**
 * The tools write \n, \r, \t and \\, and every other byte that does not print in ASCII as three
 * octal or two hexadecimal digits.
 */
export function unescapeValue(text: string): string {
  const bytes = text.replace(
    /\\(?:([nrt\\])|([0-7]{3})|x([0-9a-f]{2}))/g,
    (_, simple: string | undefined, octal: string | undefined, hex: string | undefined) => {
      if (simple !== undefined) return ESCAPES[simple]!
      return String.fromCharCode(
        octal === undefined ? Number.parseInt(hex!, 16) : Number.parseInt(octal, 8),
      )
    },
  )
  return Buffer.from(bytes, 'latin1').toString('utf8')
}

/** Only backslashes mean something to the tools when writing. */
function escapeValue(value: string): string {
  return value.replaceAll('\\', '\\\\')
}
