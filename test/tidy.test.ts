/**
 * The house rules that a machine can check: who imports whom, how long files and lines are, which
 * words stay in their one place. Each rule is a function from a file to complaints, tried on a bad
 * file first.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

const root = new URL('..', import.meta.url).pathname
const VENDOR = 'vendor/nbd-client-ts'

/**
 * `a: [b]` reads "a may import b"; every folder may import itself and the package nbd-client-ts.
 */
const IMPORTS: Readonly<Record<string, readonly string[]>> = {
  [VENDOR]: [],
  io: [],
  control: [],
  host: ['io'],
  tls: ['io'],
  block: ['io', 'tls'],
  nbd: ['io', 'tls', 'block'],
  mirror: ['io', 'block'],
  proxy: ['io', 'tls', 'block', 'nbd', 'mirror', 'control'],
  migration: ['proxy', 'control', 'host'],
  chain: ['control', 'host'],
  daemon: ['migration', 'chain', 'proxy', 'control', 'host'],
  cli: ['control', 'proxy', 'daemon'],
  demo: ['control', 'cli'],
  bench: ['io', 'block', 'nbd', 'mirror', 'control', 'proxy', 'cli'],
}
/** The proxy is loaded by the one command that runs it. */
const PROXY_IN_CLI = /^src\/cli\/(serve|start-failure)\.ts$/

/** The host layer makes system calls, and knows nothing of the data path's engines. */
const IO_IN_HOST = /\/io\/libc(-control)?\.ts$/

/** A word, and the files it may stand in. Looked for in code only: not in comments, not in text. */
const BANNED: readonly (readonly [name: string, word: RegExp, where: RegExp])[] = [
  ['console', /\bconsole\b/, /^src\/(cli|demo|bench)\//],
  ['any', /[:<,|&(=]\s*any\b|\bas\s+any\b|\bany\[\]/, /^$/],
  ['enum', /^\s*(export\s+)?(declare\s+)?(const\s+)?enum\s/m, /^$/],
  ['export default', /\bexport\s+default\b/, /^[^/]+\.config\.ts$/],
  ['process.exit', /\bprocess\.exit\b/, /^src\/(cli|demo)\/main\.ts$|^(src\/bench|test)\//],
  ['Date.now', /\bDate\.now\b/, /^$/],
  ['Math.random', /\bMath\.random\b/, /^$/],
  ['koffi', /\bkoffi\b[\s\S]*\.func\b/, /^src\/io\/libc\.ts$/],
]

interface File {
  readonly path: string
  readonly text: string
}

type Rule = (file: File) => string[]

const isSource = (path: string): boolean => path.startsWith('src/')

/** `io`, `vendor/nbd-client-ts`; undefined for a file that is in no layer. */
function layerOf(path: string): string | undefined {
  if (path.startsWith(`src/${VENDOR}/`)) return VENDOR
  return /^src\/([^/]+)\//.exec(path)?.[1]
}

const rules: Readonly<Record<string, Rule>> = {
  imports: ({ path, text }) => {
    const layer = layerOf(path)
    if (!isSource(path) || layer === undefined) return []
    const allowed = IMPORTS[layer]
    if (allowed === undefined) return [`${layer} is no layer: add it to IMPORTS`]
    const found = [...text.matchAll(/\b(?:from|import)\s*\(?\s*'(\.[^']+)'/g)]
    return found.flatMap(([, given = '']) => {
      const to = layerOf(normalize(join(dirname(path), given)))
      // Files of the package root, as package.json, are in no layer.
      if (to === undefined || to === layer) return []
      if (!allowed.includes(to)) return [`${layer} may not import ${to}: ${given}`]
      if (layer === 'host' && to === 'io' && !IO_IN_HOST.test(given)) {
        return [`host may import only the libc files of io: ${given}`]
      }
      const isLoose = layer === 'cli' && to === 'proxy' && !PROXY_IN_CLI.test(path)
      return isLoose ? [`only the serve command may import the proxy: ${given}`] : []
    })
  },
  'file length': ({ text }) => {
    const lines = text.split('\n').length - 1
    return lines > 300
      ? [`has ${lines} lines: a file that wants more than 300 holds two ideas`]
      : []
  },
  'line length': ({ text }) =>
    text
      .split('\n')
      .flatMap((line, index) => ([...line].length > 100 ? [`line ${index + 1} is over 100`] : [])),
  'banned words': ({ path, text }) => {
    const code = codeOf(text)
    return BANNED.filter(([, word, where]) => word.test(code) && !where.test(path)).map(
      ([name]) => `${name} does not belong here`,
    )
  },
  'unfinished work': ({ text }) =>
    new RegExp(
      `\\b(${['TO', 'FIX'].map(half => `${half}${half === 'TO' ? 'DO' : 'ME'}`).join('|')})\\b`,
    ).test(text)
      ? ['has a note of unfinished work']
      : [],
  'opening comment': ({ path, text }) => {
    const start = text.replace(/^#!.*\n/, '')
    return isSource(path) && !/^(\/\*\*?|\/\/) ?\S|^\/\*\*\n/.test(start)
      ? ['does not open with a comment that says what it is']
      : []
  },
}

/** `text` without comments and without what quotes hold; line breaks stay. */
function codeOf(text: string): string {
  const token = /\/\*[\s\S]*?\*\/|\/\/.*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g
  return text.replace(token, found => found.replaceAll(/[^\n]/g, ' '))
}

/** Tracked files and new ones, as git sees them; a deleted one is gone. */
function files(...patterns: string[]): File[] {
  const list = ['ls-files', '--cached', '--others', '--exclude-standard', '--deduplicate', '--']
  const deleted = git('ls-files', '--deleted', '--', ...patterns)
  return git(...list, ...patterns)
    .filter(path => !deleted.includes(path))
    .map(path => ({ path, text: readFileSync(join(root, path), 'utf8') }))
}

function git(...words: string[]): string[] {
  return execFileSync('git', words, { cwd: root, encoding: 'utf8' }).split('\n').filter(Boolean)
}

const typescript = files('*.ts')

test.each(Object.entries(rules))('%s', (_name, rule) => {
  expect(typescript.length).toBeGreaterThan(20)
  const complaints = typescript.flatMap(file => rule(file).map(what => `${file.path}: ${what}`))
  expect(complaints).toEqual([])
})

test('every document has one h1, and it comes first', () => {
  const documents = files('*.md')
  expect(documents.length).toBeGreaterThan(0)
  for (const { path, text } of documents) {
    const prose = text.replaceAll(/^```[\s\S]*?^```/gm, '')
    expect([path, prose.match(/^# .+/gm)?.length, prose.startsWith('# ')]).toEqual([path, 1, true])
  }
})

test('each rule notices what it is for', () => {
  const code = (path: string, line: string): File => ({ path, text: `// A file.\n${line}\n` })
  const bad: readonly (readonly [rule: string, file: File])[] = [
    ['imports', code('src/io/a.ts', "import { x } from '../block/b.ts'")],
    ['imports', code('src/block/a.ts', "export { x } from '../nbd/b.ts'")],
    ['imports', code('src/mirror/a.ts', "import type { X } from '../nbd/b.ts'")],
    ['imports', code('src/control/a.ts', "const x = await import('../io/b.ts')")],
    ['imports', code(`src/${VENDOR}/src/a.ts`, "import '../../../io/b.ts'")],
    ['imports', code('src/io/a.ts', `import { x } from '../${VENDOR}/src/b.ts'`)],
    ['imports', code('src/cli/status.ts', "import { x } from '../proxy/b.ts'")],
    ['imports', code('src/host/a.ts', "import { x } from '../io/engine.ts'")],
    ['imports', code('src/host/a.ts', "import { x } from '../control/b.ts'")],
    ['imports', code('src/strange/a.ts', '')],
    ['file length', code('a.ts', '\n'.repeat(300))],
    ['line length', code('a.ts', 'x'.repeat(101))],
    ['banned words', code('src/io/a.ts', 'console.log(1)')],
    ['banned words', code('src/io/a.ts', 'const x: any = 1')],
    ['banned words', code('test/a.ts', 'const x = y as any')],
    ['banned words', code('src/io/a.ts', 'const x: Map<string, any>')],
    ['banned words', code('src/io/a.ts', 'export const enum X {}')],
    ['banned words', code('src/io/a.ts', 'export default 1')],
    ['banned words', code('src/cli/run.ts', 'process.exit(1)')],
    ['banned words', code('src/io/a.ts', 'Date.now()')],
    ['banned words', code('src/io/a.ts', 'Math.random()')],
    ['banned words', code('src/io/a.ts', "import koffi from 'koffi'\nlibc.func('x')")],
    ['unfinished work', code('a.ts', `// ${'TO'}${'DO'} later`)],
    ['opening comment', { path: 'src/io/a.ts', text: 'const x = 1\n' }],
  ]
  for (const [rule, file] of bad) expect([file, rules[rule]?.(file).length]).toEqual([file, 1])
  expect(new Set(bad.map(([rule]) => rule))).toEqual(new Set(Object.keys(rules)))
  const good = code(
    'src/io/a.ts',
    "const x = 'as any' // console: any, Date.now\nconst company = 1",
  )
  for (const rule of Object.values(rules)) expect(rule(good)).toEqual([])
})
