/**
 * The benchmark's process: progress to stderr, tables to stdout, files where they were asked for.
 * On SIGINT and SIGTERM all that was started is stopped and all that was made is removed.
 */
import { writeFile } from 'node:fs/promises'
import process from 'node:process'
import { UsageError } from '../cli/exit-codes.ts'
import { compareRuns } from './compare.ts'
import { type BenchOptions, HELP, listText, readOptions } from './options.ts'
import { pageOf } from './report/page.ts'
import { comparisonText, environmentText, marksText, scenarioText } from './report/text.ts'
import { type Run, readRun, type ScenarioResult } from './results.ts'
import { runScenarios } from './run.ts'
import { judge } from './verdicts.ts'

const EXIT = { ok: 0, failed: 1, usage: 2, worse: 9 } as const

const aborted = new AbortController()

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    // A second one ends it at once; children are killed then, files stay.
    if (aborted.signal.aborted) process.exit(EXIT.failed)
    aborted.abort(new Error(`stopped by ${signal}`))
  })
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2))
  if (options.help) return print(HELP)
  if (options.list) return print(`${listText()}\n`)
  // Read before measuring: a wrong file should not cost twenty minutes.
  const old = options.compare === undefined ? undefined : await readRun(options.compare)
  const run = options.from === undefined ? await measure(options) : await readRun(options.from)
  if (options.from !== undefined) for (const each of run.scenarios) print(`\n${scenarioText(each)}`)
  print(`\n${marksText(judge(run.scenarios))}\n\n${environmentText(run)}\n`)
  if (options.json !== undefined) await writeFile(options.json, `${JSON.stringify(run)}\n`)
  if (options.html !== undefined) await writeFile(options.html, pageOf(run))
  if (old !== undefined) {
    const changes = compareRuns(old, run)
    print(`\n${comparisonText(changes)}\n`)
    if (changes.some(({ verdict }) => verdict === 'worse')) return EXIT.worse
  }
  return run.scenarios.some(isBroken) ? EXIT.failed : EXIT.ok
}

function measure(options: BenchOptions): Promise<Run> {
  return runScenarios({
    ...options,
    signal: aborted.signal,
    progress: showProgress,
    finished: result => {
      clearProgress()
      print(`\n${scenarioText(result)}`)
    },
  })
}

/** Left out for want of a tool is no failure. */
function isBroken({ fault, rows }: ScenarioResult): boolean {
  return fault !== null && (rows.length > 0 || !fault.startsWith('left out'))
}

function print(text: string): number {
  process.stdout.write(text)
  return EXIT.ok
}

function showProgress(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${line.slice(0, 99)}\u001b[K`)
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
}

try {
  process.exitCode = await main()
} catch (error) {
  clearProgress()
  process.stderr.write(`scripts/bench: ${error instanceof Error ? error.message : error}\n`)
  process.exitCode = error instanceof UsageError ? EXIT.usage : EXIT.failed
}
