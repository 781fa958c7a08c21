/** Command lines in the documents are ones that blkferry accepts, and links lead somewhere. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { COMMANDS } from '../../src/cli/commands.ts'

const root = new URL('../..', import.meta.url).pathname
const documents = [
  'README.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs')).map(name => `docs/${name}`),
]
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** Inside code, from `blkferry` to the end of the line, a comment or the code. */
function commandLines(text: string): string[] {
  const blocks = text.match(/^```\n[\s\S]*?^```/gm) ?? []
  const lines = blocks.flatMap(block => block.replaceAll('\\\n', ' ').split('\n').slice(1, -1))
  const spans = [...text.replaceAll(/^```[\s\S]*?^```/gm, '').matchAll(/`([^`\n]+)`/g)]
  return [...lines, ...spans.map(([, code = '']) => code)]
    .map(line => /^(?:npx )?(blkferry [a-z].*?)(?:\s+#.*)?$/.exec(line.trim())?.[1] ?? '')
    .filter(line => line !== '')
}

/** What a line of prose leaves out. */
const isSketch = (line: string): boolean => /[A-Z]{4}|\.\.\.|\[|--force$|^blkferry \S+$/.test(line)

test.each(['README.md', 'docs/OPERATING.md', 'docs/SECURITY.md'])('%s', path => {
  const found = commandLines(read(path)).filter(line => !isSketch(line))
  expect(found.length).toBeGreaterThan(path === 'docs/SECURITY.md' ? -1 : 3)
  for (const line of found) {
    const words = line.match(/'[^']*'|\S+/g)!.map(word => word.replaceAll("'", ''))
    const name = words.slice(1).join(' ')
    const command = COMMANDS.find(known => `${name} `.startsWith(`${known.name} `))
    expect([line, command?.name]).not.toEqual([line, undefined])
    expect(() => command?.parse(words.slice(1 + command.name.split(' ').length))).not.toThrow()
  }
})

test.each(documents)('the links of %s lead to files', path => {
  const links = [...read(path).matchAll(/\]\((?!https?:)([^)#\s]+)/g)].map(([, link = '']) => link)
  const broken = links.filter(link => !existsSync(join(root, dirname(path), link)))
  expect(broken).toEqual([])
})
