/**
 * Help texts, written from the same tables that parse: what a command accepts is what its help
 * names. The reference in docs/COMMAND-LINE.md is these texts again, and a test compares them.
 */
import type { Description } from './command.ts'
import { EXIT, EXIT_MEANINGS } from './exit-codes.ts'
import type { Option } from './options.ts'

const WIDTH = 96
const INDENT = 28

/** `blkferry serve --help`. */
export function commandHelp(command: Description): string {
  const positionals = command.positionals.map(({ name, help }) => row(`  ${name}`, help))
  const options = Object.entries(command.options)
  return [
    `blkferry ${command.name}: ${command.summary}`,
    '',
    `Usage: ${usage(command)}`,
    ...(command.details === undefined ? [] : ['', wrap(command.details, 0)]),
    '',
    ...positionals,
    ...options.map(([name, option]) => row(`  ${optionForm(name, option)}`, optionHelp(option))),
    '',
    'Examples:',
    ...command.examples.map(example => `  ${example}`),
    '',
    exitCodes(),
  ].join('\n')
}

/** `blkferry --help`, or a group's: `blkferry mirror --help`. */
export function groupHelp(group: string, commands: readonly Description[]): string {
  const name = group === '' ? 'blkferry' : `blkferry ${group}`
  const summary =
    group === ''
      ? 'move a Xen guest with its local disks to another host while it runs'
      : 'copy a disk that is being served to a target, and hand it over'
  return [
    `${name}: ${summary}`,
    '',
    `Usage: ${name} COMMAND [options]`,
    '',
    ...commands.map(command => row(`  ${command.name}`, command.summary)),
    '',
    row('  --help', 'print this help, or a command’s with its options and examples'),
    ...(group === '' ? [row('  --version', 'print the version')] : []),
    '',
    'Examples:',
    ...commands.flatMap(({ examples }) => examples.slice(0, 1)).map(example => `  ${example}`),
    '',
    exitCodes(),
  ].join('\n')
}

/** docs/COMMAND-LINE.md. */
export function reference(groups: readonly string[], commands: readonly Description[]): string {
  const top = groups.map(group => {
    const members = commands.filter(({ name }) => group === '' || name.startsWith(`${group} `))
    return section(group === '' ? 'blkferry' : `blkferry ${group}`, groupHelp(group, members))
  })
  const each = commands.map(command => section(`blkferry ${command.name}`, commandHelp(command)))
  const introduction =
    'What `--help` prints, for every command. With `--json` a command prints one JSON document ' +
    'a line to stdout: its result, its updates, or `{"error":{"exitCode","kind","message"}}`. ' +
    'Without it a failure is one sentence on stderr. Sizes and rates: `64K`, `1GiB` and `100M` ' +
    'are binary (a rate is per second), `800Mbit` is decimal bits per second. The host’s daemon ' +
    'is looked for at `/run/blkferry/daemon.sock`, or where `BLKFERRY_SOCKET` says, and started ' +
    'if it does not run.'
  return ['# Command line', '', wrap(introduction, 0), '', ...top, ...each].join('\n')
}

function usage(command: Description): string {
  const required = Object.entries(command.options).flatMap(([name, option]) => {
    if (!option.isRequired) return []
    const form = optionForm(name, option)
    return option.isRepeatable ? [form, `[${form} ...]`] : [form]
  })
  const positionals = command.positionals.map(({ name, isOptional, isRepeated }) => {
    const shown = isRepeated === true ? `${name} [${name} ...]` : name
    return isOptional === true ? `[${shown}]` : shown
  })
  const options = [...required, '[options]']
  const takesAll = command.positionals.at(-1)?.isRepeated === true
  const words = takesAll ? [...options, ...positionals] : [...positionals, ...options]
  return ['blkferry', command.name, ...words].join(' ')
}

function optionForm(name: string, option: Option<unknown>): string {
  return option.placeholder === null ? `--${name}` : `--${name} ${option.placeholder}`
}

function optionHelp({ help, isRequired, isRepeatable, fallback }: Option<unknown>): string {
  const notes = [
    isRequired ? 'required' : '',
    isRepeatable ? 'may be repeated' : '',
    fallback === undefined || fallback === '' ? '' : `default ${fallback}`,
  ].filter(note => note !== '')
  return notes.length === 0 ? help : `${help} (${notes.join(', ')})`
}

function exitCodes(): string {
  const rows = Object.entries(EXIT_MEANINGS).map(
    ([name, meaning]) => `${String(EXIT[name as keyof typeof EXIT]).padStart(3)}  ${meaning}`,
  )
  return ['Exit codes:', ...rows].join('\n')
}

function section(title: string, help: string): string {
  return `## ${title}\n\n\`\`\`text\n${help}\n\`\`\`\n`
}

/** A term and its text beside it, or below where the term is long. */
function row(term: string, help: string): string {
  const lines = wrap(help, INDENT)
  const fits = term.length <= INDENT - 2
  return fits ? term.padEnd(INDENT) + lines.trimStart() : `${term}\n${lines}`
}

/** Lines of at most `WIDTH`, each behind `indent` spaces. */
function wrap(text: string, indent: number): string {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && indent + line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = word
    } else {
      line = line === '' ? word : `${line} ${word}`
    }
  }
  return [...lines, line].map(each => ' '.repeat(indent) + each).join('\n')
}
