/**
 * Servers under fio: the same loads on the same kind of disk, for ours, the peers, and the disk
 * itself as the limit. All servers of a scenario run from its start to its end; only one has work
 * at a time.
 */
import { join } from 'node:path'
import { attachLoop, makeDisk } from '../measure/disks.ts'
import { type Disk, type Load, measure } from '../measure/fio.ts'
import { type ServerName, startServer, uriOf } from '../measure/servers.ts'
import { cpuSeconds } from '../measure/usage.ts'
import type { Plan } from '../plan.ts'
import { type Bench, interleave, type Scenario } from '../scenario.ts'
import type { SubjectName } from '../subjects.ts'

export interface Case {
  readonly name: string
  readonly load: Pick<Load, 'rw' | 'bs' | 'depth'> & Partial<Pick<Load, 'jobs' | 'fsync'>>
  /** Left out of a quick run. */
  readonly isSlow?: boolean
  /** The libuv engine is measured as well. */
  readonly isForEngines?: boolean
}

export type Medium = 'memory' | 'direct' | 'loop'

export interface ServeScenario extends Omit<Scenario, 'run' | 'needs' | 'repetitions'> {
  readonly medium: Medium
  readonly cases: readonly Case[]
}

type Server = { readonly disk: Disk; readonly pid: number | undefined }

const WARM_UP_SECONDS = 0.5
const PEERS = ['nbdkit', 'qemu-nbd'] as const

export function serveScenario({ medium, cases, ...scenario }: ServeScenario): Scenario {
  const root = medium === 'loop' ? (['root'] as const) : []
  return {
    ...scenario,
    needs: ['fio', ...PEERS, ...root],
    repetitions: plan => plan.repetitions,
    run: async bench => {
      const wanted = cases.filter(({ isSlow }) => !(bench.plan.quick && isSlow === true))
      const servers = await startServers(bench, medium, wanted)
      for (const each of wanted) await measureCase(bench, each, servers)
    },
  }
}

async function startServers(
  bench: Bench,
  medium: Medium,
  cases: readonly Case[],
): Promise<Map<SubjectName, Server>> {
  const names: ServerName[] = ['blkferry', ...PEERS]
  if (cases.some(({ isForEngines }) => isForEngines)) names.push('blkferry libuv')
  const servers = new Map<SubjectName, Server>()
  const direct = medium !== 'memory'
  for (const name of [...names, 'bare file' as const]) {
    bench.step(`making a disk for ${name}`)
    const path = await makeMedium(bench, medium, `disk-${servers.size}.img`)
    if (name === 'bare file') {
      servers.set(name, { disk: { file: path, direct }, pid: undefined })
      continue
    }
    const socket = join(bench.folder, `server-${servers.size}`)
    const service = bench.scope.use(await startServer(name, { path, socket, direct }))
    const disk = { uri: uriOf(service.socket) }
    await warmUp(bench, disk)
    servers.set(name, { disk, pid: service.pid })
  }
  return servers
}

/** A server lives for hours, so its first second, and what compiles in it, is not measured. */
async function warmUp({ plan, folder }: Bench, disk: Disk): Promise<void> {
  for (const rw of ['randread', 'randwrite'] as const) {
    const load = { rw, bs: '4k', depth: 32, jobs: 1, fsync: 0, seconds: WARM_UP_SECONDS }
    await measure({ ...load, size: plan.serveBytes }, disk, folder)
  }
}

async function makeMedium(
  { plan, folder, diskFolder, scope }: Bench,
  medium: Medium,
  name: string,
) {
  const path = join(medium === 'memory' ? folder : diskFolder, name)
  await makeDisk(path, plan.serveBytes, 'full')
  return medium === 'loop' ? await attachLoop(path, scope) : path
}

async function measureCase(
  bench: Bench,
  { name, load, isForEngines }: Case,
  servers: ReadonlyMap<SubjectName, Server>,
): Promise<void> {
  const { plan, record, folder } = bench
  const subjects = [...servers.keys()].filter(
    subject => subject !== 'blkferry libuv' || isForEngines === true,
  )
  const whole = fullLoad(load, plan)
  await interleave(bench, name, subjects, plan.repetitions, async subject => {
    const { disk, pid } = servers.get(subject)!
    const cpuBefore = pid === undefined ? 0 : await cpuSeconds(pid)
    const measured = await measure(whole, disk, folder)
    const { iops, bytesPerSecond, requests, bytes, latencies } = measured
    if (isLarge(load.bs)) record.add(name, 'rate', subject, bytesPerSecond)
    else record.add(name, 'iops', subject, iops)
    record.add(name, 'p50', subject, latencies.microseconds(0.5))
    record.add(name, 'p99', subject, latencies.microseconds(0.99))
    record.addLatencies(name, subject, latencies)
    if (pid === undefined) return
    const cpu = (await cpuSeconds(pid)) - cpuBefore
    record.add(name, 'cpu/request', subject, (cpu / requests) * 1e6)
    record.add(name, 'cpu/GiB', subject, (cpu / bytes) * 2 ** 30)
  })
}

function fullLoad(load: Case['load'], plan: Plan): Load {
  return { jobs: 1, fsync: 0, seconds: plan.loadSeconds, size: plan.serveBytes, ...load }
}

function isLarge(bs: string): boolean {
  return bs !== '4k'
}
