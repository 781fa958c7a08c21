/**
 * All processes that the benchmark starts are started here, and none outlives it: those that still
 * run when this process ends, in whatever way it can notice, are killed.
 */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import process from 'node:process'

/** Tools of the administrator are found without being one. */
const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/sbin`

const running = new Set<ChildProcess>()

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

export function startChild(
  argv: readonly string[],
  { env, ...options }: Pick<SpawnOptions, 'env' | 'stdio'>,
): ChildProcess {
  const [command = '', ...words] = argv
  const all = { ...process.env, ...env, PATH, LC_ALL: 'C' }
  const child = spawn(command, words, { ...options, env: all })
  running.add(child)
  child.on('exit', () => running.delete(child))
  child.on('error', () => running.delete(child))
  return child
}
