#!/usr/bin/env node
/** The command `scripts/lab`. Exit code 1: a scenario failed; 2: a wrong command line. */
import { spawn } from 'node:child_process'
import { parseArgs } from 'node:util'
import { install, sync } from './blkferry.ts'
import { now, seconds } from './clock.ts'
import { describe } from './evidence.ts'
import { Host } from './host.ts'
import { HOST_NAMES, type Instance, openInstance } from './layout.ts'
import { report, runScenarios } from './run-scenarios.ts'
import type { Scenario } from './scenario.ts'
import { SCENARIOS } from './scenarios/all.ts'
import { TwoHosts } from './two-hosts.ts'

const USAGE = `usage: scripts/lab [SCENARIO ...] [--all] [--list] [--keep] [--instance NAME]
       scripts/lab up | sync | down [--instance NAME] [--pv]
       scripts/lab [--instance NAME] --shell a|b [COMMAND ...]

  SCENARIO         run these instead of the core
  --all            run every scenario
  --list           say what there is
  --keep           leave the hosts running after the last scenario
  --instance NAME  a pair of hosts of your own, beside those of others (default: main)
  up               boot two hosts, install blkferry on them, leave them running
  sync             copy the present build to the running hosts
  down             stop them
  --pv             with up: the older hypervisor, which can migrate PV guests
  --shell          a shell on a host, or one command there`

const start = now()
const say = (line: string): void => {
  process.stderr.write(`${seconds(now() - start).padStart(8)}  ${line}\n`)
}

async function main(words: string[]): Promise<number> {
  const at = words.indexOf('--shell')
  const given = at < 0 ? words : words.slice(0, at)
  const { values, positionals } = parseArgs({
    args: given,
    allowPositionals: true,
    options: {
      all: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      pv: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      instance: { type: 'string', default: 'main' },
    },
  })
  if (values.help) return print(USAGE)
  if (values.list) return print(list())
  const instance = openInstance(values.instance)
  if (at >= 0) return shell(instance, words[at + 1], words.slice(at + 2).join(' '))
  const hosts = new TwoHosts(instance, values.pv ? 'pv' : 'newest', say)
  switch (positionals[0]) {
    case 'up':
      return up(hosts)
    case 'sync':
      await Promise.all(hosts.hosts.map(host => sync(host)))
      return 0
    case 'down':
      await hosts.stop()
      return 0
  }
  const results = await runScenarios(choose(positionals, values.all), instance, values.keep, say)
  print(report(results))
  return results.every(({ failure }) => failure === undefined) ? 0 : 1
}

async function up(hosts: TwoHosts): Promise<number> {
  await hosts.begin()
  await Promise.all(hosts.hosts.map(host => install(host)))
  say('both hosts are up; scripts/lab --shell a leads to the first')
  return 0
}

/** Our terminal is the shell's. Settles with the exit code of the command. */
async function shell(
  instance: Instance,
  name: string | undefined,
  command: string,
): Promise<number> {
  const known = HOST_NAMES.find(host => host === name)
  if (known === undefined) throw new RangeError('--shell wants a host: a or b')
  const [program, ...words] = new Host(instance, known).argv(command)
  const child = spawn(program, words, { stdio: 'inherit' })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', code => resolve(code ?? 1))
  })
}

function choose(names: readonly string[], isAll: boolean): readonly Scenario[] {
  if (names.length === 0) return SCENARIOS.filter(({ isCore }) => isCore || isAll)
  return names.map(name => {
    const found = SCENARIOS.find(scenario => scenario.name === name)
    if (found === undefined) throw new RangeError(`${name} is no scenario: see scripts/lab --list`)
    return found
  })
}

function list(): string {
  const width = Math.max(...SCENARIOS.map(({ name }) => name.length))
  return SCENARIOS.map(
    ({ name, sentence, isCore }) =>
      `${name.padEnd(width)}  ${isCore ? 'core' : '    '}  ${sentence}`,
  ).join('\n')
}

function print(text: string): number {
  process.stdout.write(`${text}\n`)
  return 0
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  const isUsage =
    error instanceof RangeError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS')
  process.stderr.write(`${isUsage ? (error as Error).message : describe(error)}\n`)
  process.exitCode = isUsage ? 2 : 1
}
