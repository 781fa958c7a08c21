/**
 * What a command is: its table of options, its words for help, and what it does. `defineCommand`
 * ties a command's values to the types in its table and then hides them, so that all commands fit
 * one list.
 */
import { parseArgs } from 'node:util'
import { type ExitCode, UsageError } from './exit-codes.ts'
import { nearest } from './nearest.ts'
import { flag, type Options, type Values } from './options.ts'
import type { Output } from './output.ts'

/** What a command may use of the process it runs in. */
export interface Context {
  readonly output: Output
  /** Every SIGINT and SIGTERM from now on, instead of their default. Returns how to stop that. */
  onSignal(received: (signal: string) => void): () => void
  /** Ends the process at once. */
  exit(exitCode: ExitCode): void
}

export interface Positional {
  readonly name: string
  readonly help: string
  /** May be left out; only the last ones. */
  readonly isOptional?: boolean
  /** Once or more; only the last one. It takes all words from its first on, options too. */
  readonly isRepeated?: boolean
}

export interface Description {
  /** The words after `blkferry`. */
  readonly name: string
  /** One line without a full stop. */
  readonly summary: string
  /** A paragraph more, for the command's own help. */
  readonly details?: string
  readonly positionals: readonly Positional[]
  readonly options: Options
  /** Command lines that parse as they stand. */
  readonly examples: readonly string[]
}

export interface Command extends Description {
  /** Reads the words after the command's name. Throws `UsageError`. */
  parse(words: readonly string[]): { run(context: Context): Promise<ExitCode> }
}

/** Options that every command has; the dispatcher looks at them before the command runs. */
const COMMON = {
  json: flag('print results, updates and errors as JSON, one document a line'),
  help: flag('print this help'),
}

export function defineCommand<O extends Options>(
  command: Omit<Description, 'options'> & {
    readonly options: O
    run(values: Values<O>, context: Context, positionals: readonly string[]): Promise<ExitCode>
  },
): Command {
  const options = { ...command.options, ...COMMON }
  const described = { ...command, options }
  return {
    ...described,
    parse: words => {
      const { given, positionals } = readWords(described, words)
      const values = Object.fromEntries(
        Object.entries(options).map(([name, option]) => [name, option.read(given(name), name)]),
      ) as Values<O>
      return { run: context => command.run(values, context, positionals) }
    },
  }
}

function readWords(command: Description, words: readonly string[]) {
  const kinds = Object.entries(command.options).map(([name, option]) => {
    const type = option.placeholder === null ? ('boolean' as const) : ('string' as const)
    return [name, { type, multiple: true }] as const
  })
  // Not strict only because the sentences for what is wrong are ours: all of it is checked below.
  const { tokens } = parseArgs({
    args: endOptions(command, words),
    options: Object.fromEntries(kinds),
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const found = new Map<string, string[]>()
  const positionals: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind === 'option') {
      const values = found.get(token.name) ?? []
      values.push(readToken(command, token))
      found.set(token.name, values)
    }
  }
  checkCounts(command, found, positionals)
  const given = (name: string): readonly string[] => {
    const fallback = command.options[name]?.fallback
    return found.get(name) ?? (fallback === undefined ? [] : [fallback])
  }
  return { given, positionals }
}

/** Puts `--` before words that are somebody else's command line. */
function endOptions(command: Description, words: readonly string[]): string[] {
  if (command.positionals.at(-1)?.isRepeated !== true) return [...words]
  let index = 0
  while (index < words.length) {
    const word = words[index]!
    if (word === '--') return [...words]
    if (!word.startsWith('--')) break
    const takesNext = findOption(command.options, word.slice(2))?.placeholder != null
    index += takesNext ? 2 : 1
  }
  return [...words.slice(0, index), '--', ...words.slice(index)]
}

interface OptionToken {
  readonly name: string
  readonly rawName: string
  readonly value?: string | undefined
  readonly inlineValue?: boolean | undefined
}

function readToken(command: Description, { name, rawName, value, inlineValue }: OptionToken) {
  const option = rawName.startsWith('--') ? findOption(command.options, name) : undefined
  if (option === undefined) {
    const near = nearest(name, Object.keys(command.options))
    const remedy = near === undefined ? seeHelp(command) : `did you mean --${near}?`
    throw new UsageError(`unknown option ${rawName}: ${remedy}`)
  }
  if (option.placeholder === null) {
    if (value !== undefined) throw new UsageError(`${rawName} takes no value: leave out =${value}`)
    return ''
  }
  if (value === undefined || (value.startsWith('--') && inlineValue !== true)) {
    throw new UsageError(`${rawName} needs a value: ${rawName} ${option.placeholder}`)
  }
  return value
}

function checkCounts(
  command: Description,
  found: ReadonlyMap<string, readonly string[]>,
  positionals: readonly string[],
): void {
  const missing = command.positionals[positionals.length]
  if (missing !== undefined && missing.isOptional !== true) {
    throw new UsageError(`${command.name} needs ${missing.name}: ${missing.help}`)
  }
  const extra = positionals[command.positionals.length]
  if (extra !== undefined && command.positionals.at(-1)?.isRepeated !== true) {
    throw new UsageError(`${JSON.stringify(extra)} is one word too many: ${seeHelp(command)}`)
  }
  for (const [name, option] of Object.entries(command.options)) {
    const count = found.get(name)?.length ?? 0
    if (option.isRequired && count === 0) {
      throw new UsageError(`${command.name} needs --${name} ${option.placeholder}: ${option.help}`)
    }
    if (count > 1 && !option.isRepeatable && option.placeholder !== null) {
      throw new UsageError(`--${name} is given ${count} times: give it once`)
    }
  }
}

function findOption(options: Options, name: string) {
  return Object.hasOwn(options, name) ? options[name] : undefined
}

function seeHelp(command: Description): string {
  return `see blkferry ${command.name} --help`
}
