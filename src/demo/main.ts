/**
 * The demo's process: reads its words, cleans up on every way out, and ends with an exit code of
 * blkferry's.
 */
import process from 'node:process'
import type { Context } from '../cli/command.ts'
import { EXIT, type ExitCode, exitCodeOf } from '../cli/exit-codes.ts'
import { commandHelp } from '../cli/help.ts'
import { Output } from '../cli/output.ts'
import { Cleanup } from './cleanup.ts'
import { runDemo } from './demo.ts'
import { type DemoOptions, demoCommand } from './options.ts'

const words = process.argv.slice(2)
const output = new Output(process, { isJson: words.includes('--json') })
const context: Context = {
  output,
  onSignal: received => {
    // All of them for good: what a second one would cut short is the clean-up.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, received)
    return () => {}
  },
  exit: exitCode => process.exit(exitCode),
}

/** In the help of the commands the program is called blkferry. */
function inOwnName(text: string): string {
  return text.replaceAll('blkferry demo', 'scripts/demo')
}

async function demo(options: DemoOptions, { onSignal }: Context): Promise<boolean> {
  const cleanup = new Cleanup()
  const aborted = new AbortController()
  const { promise, reject } = withReject()
  onSignal(signal => {
    aborted.abort()
    reject(new Error(`stopped by ${signal}`))
  })
  try {
    return await Promise.race([
      runDemo(options, { output, cleanup, signal: aborted.signal }),
      promise,
    ])
  } finally {
    await cleanup.run()
  }
}

function withReject(): { promise: Promise<never>; reject: (error: Error) => void } {
  let reject: (error: Error) => void = () => {}
  const promise = new Promise<never>((_, rejectPromise) => {
    reject = rejectPromise
  })
  return { promise, reject }
}

async function main(): Promise<ExitCode> {
  const command = demoCommand(demo)
  if (words.includes('--help') || words.includes('-h')) {
    const help = inOwnName(commandHelp(command))
    output.result({ help }, help)
    return EXIT.ok
  }
  try {
    return await command.parse(words).run(context)
  } catch (error) {
    const exitCode = exitCodeOf(error)
    output.failure(exitCode, inOwnName(error instanceof Error ? error.message : String(error)))
    return exitCode
  }
}

process.exit(await main())
