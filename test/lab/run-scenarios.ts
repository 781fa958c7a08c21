/** Runs scenarios one after the other, each on hosts as they were right after the installation. */
import { install } from './blkferry.ts'
import { now, seconds } from './clock.ts'
import { keepEvidence } from './evidence.ts'
import type { Instance } from './layout.ts'
import type { Hypervisor } from './machine.ts'
import type { Figures, Scenario } from './scenario.ts'
import { type Say, TwoHosts } from './two-hosts.ts'

const INSTALLED = 'installed'

export interface Result {
  readonly name: string
  readonly ms: number
  readonly figures: Figures
  /** Undefined if it passed. */
  readonly failure: string | undefined
}

/**
 * `isKept`: the hosts of the last scenario go on running. Scenarios that want another hypervisor
 * come last, since the hosts boot anew for them.
 */
export async function runScenarios(
  scenarios: readonly Scenario[],
  instance: Instance,
  isKept: boolean,
  say: Say,
): Promise<Result[]> {
  const results: Result[] = []
  for (const hypervisor of ['newest', 'pv'] as const) {
    const wanted = scenarios.filter(({ hypervisor: own = 'newest' }) => own === hypervisor)
    if (wanted.length > 0) results.push(...(await runOn(hypervisor, wanted, instance, say)))
  }
  if (!isKept) await new TwoHosts(instance, 'newest', say).stop()
  return results
}

async function runOn(
  hypervisor: Hypervisor,
  scenarios: readonly Scenario[],
  instance: Instance,
  say: Say,
): Promise<Result[]> {
  const hosts = new TwoHosts(instance, hypervisor, say)
  const results: Result[] = []
  let isInstalled = false
  for (const scenario of scenarios) {
    if (scenario.needs !== 'nothing') {
      if (isInstalled) await hosts.resume(INSTALLED)
      else await prepare(hosts, say)
      isInstalled = true
    }
    results.push(await runOne(hosts, scenario, say))
    // It may have made new disks, without the saved state.
    if (scenario.needs === 'nothing') isInstalled = false
  }
  return results
}

async function prepare(hosts: TwoHosts, say: Say): Promise<void> {
  const start = now()
  await hosts.begin()
  await Promise.all(hosts.hosts.map(host => install(host)))
  await hosts.save(INSTALLED)
  await hosts.resume(INSTALLED)
  say(`two hosts with blkferry installed after ${seconds(now() - start)}`)
}

async function runOne(hosts: TwoHosts, scenario: Scenario, say: Say): Promise<Result> {
  say(`${scenario.name}: ${scenario.sentence}`)
  const start = now()
  const within: Say = line => say(`  ${seconds(now() - start)} ${line}`)
  const finish = (figures: Figures, failure?: string): Result => ({
    name: scenario.name,
    ms: now() - start,
    figures,
    failure,
  })
  try {
    const figures = await scenario.run({ hosts, a: hosts.a, b: hosts.b, say: within })
    return finish(figures)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    within(`failed: ${message}`)
    within(`evidence is in ${await keepEvidence(hosts, scenario.name, error)}`)
    return finish({}, message)
  }
}

/** The table at the end, and its last line. */
export function report(results: readonly Result[]): string {
  const width = Math.max(0, ...results.map(({ name }) => name.length))
  const lines = results.map(({ name, ms, figures, failure }) => {
    const told = Object.entries(figures).map(([key, value]) => `${key} ${value}`)
    const what = failure === undefined ? told.join(', ') : failure.split('\n')[0]
    const verdict = failure === undefined ? 'passed' : 'FAILED'
    return `${name.padEnd(width)}  ${verdict}  ${seconds(ms).padStart(8)}  ${what}`.trimEnd()
  })
  const failed = results.filter(({ failure }) => failure !== undefined).length
  return [...lines, `${results.length - failed} passed, ${failed} failed`].join('\n')
}
