/**
 * Runs scenarios one after the other, each in folders of its own that are gone when it ends. What
 * breaks a scenario is written down with its result, and the next one runs.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { connectControl } from '../control/channel.ts'
import { Cleanup } from './cleanup.ts'
import { type Environment, lacking, readEnvironment } from './environment.ts'
import { makeDisk } from './measure/disks.ts'
import { controlSocketOf, startServer } from './measure/servers.ts'
import { NoiseProbe } from './noise.ts'
import { FULL, type Plan, QUICK } from './plan.ts'
import { Recorder } from './recorder.ts'
import { FORMAT, FORMAT_VERSION, type Run, type ScenarioResult } from './results.ts'
import type { Bench, Scenario } from './scenario.ts'

export interface RunOptions {
  readonly scenarios: readonly Scenario[]
  readonly quick: boolean
  readonly folder: string
  readonly diskFolder: string
  /** Aborted when the user has had enough; the run then rejects. */
  readonly signal: AbortSignal
  /** What is being measured now. */
  progress(line: string): void
  /** A scenario has ended. */
  finished(result: ScenarioResult): void
}

export async function runScenarios(options: RunOptions): Promise<Run> {
  const { scenarios, quick, signal, finished } = options
  const startedAt = new Date().toISOString()
  const started = performance.now()
  const plan = quick ? QUICK : FULL
  const measured = await readEnvironment()
  const environment = { ...measured, engine: await chosenEngine(options) }
  const noise = new NoiseProbe()
  const results: ScenarioResult[] = []
  for (const [index, scenario] of scenarios.entries()) {
    signal.throwIfAborted()
    const prefix = `[${index + 1}/${scenarios.length}] ${scenario.name}: `
    const result = await runOne(scenario, { plan, environment, noise, prefix, options })
    signal.throwIfAborted()
    results.push(result)
    finished(result)
  }
  return {
    format: FORMAT,
    version: FORMAT_VERSION,
    startedAt,
    quick,
    elapsedMs: performance.now() - started,
    environment,
    noise: noise.noise(environment.loadAverage[0]! / environment.cores),
    scenarios: results,
  }
}

interface Surroundings {
  readonly plan: Plan
  readonly environment: Environment
  readonly noise: NoiseProbe
  readonly prefix: string
  readonly options: RunOptions
}

async function runOne(
  scenario: Scenario,
  { plan, environment, noise, prefix, options }: Surroundings,
): Promise<ScenarioResult> {
  const started = performance.now()
  const record = new Recorder()
  let fault = lacking(environment, scenario.needs) ?? null
  if (fault === null) {
    try {
      await using scope = new Cleanup()
      const bench: Bench = {
        plan,
        folder: await makeFolder(options.folder, scope),
        diskFolder: await makeFolder(options.diskFolder, scope),
        scope,
        record,
        step: what => {
          options.progress(prefix + what)
          noise.probe()
        },
        checkSignal: () => options.signal.throwIfAborted(),
      }
      await scenario.run(bench)
    } catch (error) {
      fault = error instanceof Error ? error.message : String(error)
    }
  }
  const { name, title, shows, doesNotShow, plotted } = scenario
  const { rows, latencies, dirty, notes } = record
  const repetitions = scenario.repetitions(plan)
  const elapsedMs = performance.now() - started
  return {
    ...{ name, title, shows, doesNotShow, plotted, repetitions, elapsedMs },
    ...{ rows, latencies, dirty, notes, fault },
  }
}

async function makeFolder(parent: string, scope: Cleanup): Promise<string> {
  const folder = await mkdtemp(join(parent, 'blkferry-bench-'))
  scope.defer(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** What serve takes by itself on this machine; null if it does not start. */
async function chosenEngine({ folder }: RunOptions): Promise<string | null> {
  await using scope = new Cleanup()
  const place = await makeFolder(folder, scope)
  const path = await makeDisk(join(place, 'disk.img'), 2 ** 20, 'zero')
  const socket = join(place, 'serve')
  try {
    scope.use(await startServer('blkferry', { path, socket }))
    using control = await connectControl(controlSocketOf(socket))
    return (await control.call('status', {}, { timeoutMs: 10_000 })).engine
  } catch {
    return null
  }
}
