/**
 * From the words of a command line to an exit code. Everything of the process it needs is a
 * parameter, and it throws nothing: whatever goes wrong becomes one sentence and a documented code.
 */
import { readFileSync } from 'node:fs'
import type { Command, Context } from './command.ts'
import { EXIT, type ExitCode, exitCodeOf, UsageError } from './exit-codes.ts'
import { loadCommand } from './load-command.ts'

/** Runs a command line: `words` without the program's name. */
export async function run(words: readonly string[], context: Context): Promise<ExitCode> {
  try {
    return await dispatch(words, context)
  } catch (error) {
    const exitCode = exitCodeOf(error)
    context.output.failure(exitCode, error instanceof Error ? error.message : String(error))
    return exitCode
  }
}

/** Anywhere before `--`, help is asked for, whatever else is wrong. */
export function asksFor(option: string, words: readonly string[]): boolean {
  const end = words.indexOf('--')
  return words.slice(0, end === -1 ? undefined : end).includes(option)
}

async function dispatch(words: readonly string[], context: Context): Promise<ExitCode> {
  const asksForHelp = asksFor('--help', words) || asksFor('-h', words)
  const single = asksForHelp ? undefined : await loadCommand(words[0])
  if (single !== undefined) return await single.parse(words.slice(1)).run(context)
  const { COMMANDS, GROUPS } = await import('./commands.ts')
  const group = words[0] !== undefined && GROUPS.includes(words[0]) ? words[0] : ''
  const length = group === '' ? 1 : 2
  const name = words.slice(0, length).join(' ')
  const members =
    group === '' ? COMMANDS : COMMANDS.filter(known => known.name.startsWith(`${group} `))
  const command = COMMANDS.find(known => known.name === name)
  if (command !== undefined && !asksForHelp) {
    return await command.parse(words.slice(length)).run(context)
  }
  if (asksForHelp) {
    const { commandHelp, groupHelp } = await import('./help.ts')
    return printHelp(context, command ? commandHelp(command) : groupHelp(group, members))
  }
  if (group === '' && asksFor('--version', words)) {
    const version = packageVersion()
    context.output.result({ version }, `blkferry ${version}`)
    return EXIT.ok
  }
  throw new UsageError(await unknownCommand(words[length - 1], group, members))
}

async function unknownCommand(
  word: string | undefined,
  group: string,
  members: readonly Command[],
): Promise<string> {
  const prefix = group === '' ? '' : `${group} `
  const help = `see blkferry ${prefix}--help`
  if (word === undefined || word.startsWith('-')) return `give a command first: ${help}`
  const { nearest } = await import('./nearest.ts')
  const words = members.map(({ name }) => name.slice(prefix.length).split(' ')[0] ?? '')
  const near = nearest(word, words)
  const remedy = near === undefined ? help : `did you mean blkferry ${prefix}${near}?`
  return `unknown command ${JSON.stringify(prefix + word)}: ${remedy}`
}

function printHelp(context: Context, help: string): ExitCode {
  context.output.result({ help }, help)
  return EXIT.ok
}

function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url)
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { readonly version: string }
  return version
}
