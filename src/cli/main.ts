#!/usr/bin/env node
/**
 * The `blkferry` command: gives `run` the real process. The only file that ends the process; stdout
 * and stderr are written synchronously to files, pipes and terminals on Linux, so nothing is lost
 * by it.
 */
import process from 'node:process'
import type { Context } from './command.ts'
import { EXIT } from './exit-codes.ts'
import { Output } from './output.ts'
import { asksFor, run } from './run.ts'

const words = process.argv.slice(2)

/** Their stdin and stdout are a connection, which nothing of ours may get into or hold open. */
const isConnection = ['relay', 'relay-receive', 'channel'].includes(words[0] ?? '')
const stdout = isConnection ? process.stderr : process.stdout

// Whoever read our output has gone, as `head` does: a command has nobody left to tell. A serving
// process must not end for that, nor for a log that nobody takes: a guest may be behind it.
stdout.on('error', () => {
  if (words[0] !== 'serve' && words[0] !== 'daemon' && !isConnection) process.exit(EXIT.failed)
})
process.stderr.on('error', () => {})

const context: Context = {
  output: new Output({ stdout, stderr: process.stderr }, { isJson: asksFor('--json', words) }),
  onSignal: received => {
    const signals = ['SIGINT', 'SIGTERM'] as const
    for (const signal of signals) process.on(signal, received)
    return () => {
      for (const signal of signals) process.off(signal, received)
    }
  },
  exit: exitCode => process.exit(exitCode),
}

process.exit(await run(words, context))
