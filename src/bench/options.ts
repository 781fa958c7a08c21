/** The benchmark's command line. */
import { parseArgs } from 'node:util'
import { UsageError } from '../cli/exit-codes.ts'
import { nearest } from '../cli/nearest.ts'
import { CATALOGUE } from './catalogue.ts'
import { MARKS } from './marks.ts'
import type { Scenario } from './scenario.ts'

export interface BenchOptions {
  readonly scenarios: readonly Scenario[]
  readonly quick: boolean
  readonly list: boolean
  readonly help: boolean
  /** Folder on tmpfs for the disks. */
  readonly folder: string
  /** Folder on a real file system. */
  readonly diskFolder: string
  readonly json: string | undefined
  readonly html: string | undefined
  readonly compare: string | undefined
  /** Render this stored run instead of measuring. */
  readonly from: string | undefined
}

export const HELP = `scripts/bench: measure blkferry beside its peers

Usage: scripts/bench [SCENARIO ...] [options]

Without a scenario all of them run, which takes under twenty minutes. Scenarios that lack a tool
or root are left out and say so. Ctrl-C ends the run, stops all that it started, and removes its
files.

  --quick             only what has a mark, shorter and smaller: three minutes
  --list              list the scenarios and what they measure
  --json FILE         store the measurements
  --html FILE         write a page with plots, complete in itself
  --compare OLD.json  compare with a stored run by ratios; exit code 9 if anything is worse
  --from FILE         measure nothing: read a stored run and report it again
  --dir FOLDER        where the disks are, best on tmpfs (default /dev/shm)
  --disk-dir FOLDER   where the disks of serve-direct and serve-loop are (default /var/tmp)
  --help              print this help

Examples:
  scripts/bench --quick
  scripts/bench serve-4k mirror-idle
  scripts/bench --json new.json --html new.html
  scripts/bench --compare old.json
  scripts/bench --from new.json --html new.html

Exit codes:
  0  done; whether marks are met does not matter
  1  a scenario broke off, or the benchmark itself failed
  2  the command line is wrong
  9  --compare found something worse
`

const OPTIONS = {
  quick: { type: 'boolean', default: false },
  list: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
  json: { type: 'string' },
  html: { type: 'string' },
  compare: { type: 'string' },
  from: { type: 'string' },
  dir: { type: 'string', default: '/dev/shm' },
  'disk-dir': { type: 'string', default: '/var/tmp' },
} as const

/** What has a mark: a quick run's choice. */
const JUDGED = CATALOGUE.filter(({ name }) => MARKS.some(({ of }) => of.scenario === name))

/** Throws `UsageError`. */
export function readOptions(words: readonly string[]): BenchOptions {
  const { values, positionals } = parse(words)
  return {
    scenarios: positionals.length > 0 ? select(positionals) : values.quick ? JUDGED : CATALOGUE,
    quick: values.quick,
    list: values.list,
    help: values.help,
    folder: values.dir,
    diskFolder: values['disk-dir'],
    json: values.json,
    html: values.html,
    compare: values.compare,
    from: values.from,
  }
}

export function listText(): string {
  const width = Math.max(...CATALOGUE.map(({ name }) => name.length))
  return CATALOGUE.map(({ name, title }) => `${name.padEnd(width)}  ${title}`).join('\n')
}

function parse(words: readonly string[]) {
  try {
    return parseArgs({ args: [...words], options: OPTIONS, allowPositionals: true })
  } catch (error) {
    throw new UsageError(`${(error as Error).message}: see scripts/bench --help`)
  }
}

/** In the catalogue's order, each once. */
function select(names: readonly string[]): Scenario[] {
  const known = CATALOGUE.map(({ name }) => name)
  for (const name of names) {
    if (known.includes(name)) continue
    const near = nearest(name, known)
    const remedy = near === undefined ? 'see scripts/bench --list' : `did you mean ${near}?`
    throw new UsageError(`unknown scenario ${JSON.stringify(name)}: ${remedy}`)
  }
  return CATALOGUE.filter(({ name }) => names.includes(name))
}
