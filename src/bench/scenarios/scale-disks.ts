/**
 * Eight disks at once: eight processes of ours, one QEMU with eight mirrors, or eight nbdcopy, each
 * disk to a target of its own.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { Cleanup } from '../cleanup.ts'
import { fillDisk, makeDisk, mustBeEqual } from '../measure/disks.ts'
import { startSource } from '../measure/mirror-source.ts'
import { QemuSource } from '../measure/qemu-source.ts'
import { uriOf } from '../measure/servers.ts'
import { mustRun } from '../measure/tool.ts'
import { memoryUse } from '../measure/usage.ts'
import { type Bench, interleave, type Scenario } from '../scenario.ts'
import { READY_MS_MAX, type ServedTarget, serveTarget } from './mirror-disks.ts'

const DISKS = 8
const SUBJECTS = ['blkferry', 'qemu mirror', 'nbdcopy'] as const

export const SCALE_DISKS: Scenario = {
  name: 'scale-disks',
  title: 'Eight disks at once',
  shows:
    'Bytes a second over all of eight mirrors that start together, until ' +
    'the last is ready, and the memory of all source processes together.',
  doesNotShow:
    'Eight disks with eight queues of their own: all are in memory, ' +
    'and two cores have sixteen processes to run.',
  plotted: 'rate',
  needs: ['nbdkit', 'qemu-storage-daemon', 'nbdcopy'],
  repetitions: plan => plan.repetitions,
  run: async bench => {
    const { plan, folder, record, scope } = bench
    const size = plan.mirrorBytes / 4
    const paths: string[] = []
    const targets: ServedTarget[] = []
    for (let disk = 0; disk < DISKS; disk += 1) {
      bench.step(`disk ${disk + 1} of ${DISKS}`)
      const path = await makeDisk(join(folder, `source-${disk}.img`), size, 'full')
      scope.defer(() => rm(path, { force: true }))
      paths.push(path)
      targets.push(await serveTarget(scope, folder, { size, filling: 'full' }))
    }
    const name = `${DISKS} disks`
    await interleave(bench, name, SUBJECTS, plan.repetitions, async (subject, repetition) => {
      // What was copied before must not pass for this copy.
      if (repetition === 0) for (const { path } of targets) await fillDisk(path, size)
      const { ms, rss } = await COPY[subject](paths, targets, bench)
      record.add(name, 'rate', subject, ((size * DISKS) / ms) * 1000)
      if (rss !== undefined) record.add(`${name}, memory`, 'bytes', subject, rss)
      if (repetition > 0) return
      for (const [disk, path] of paths.entries()) {
        await mustBeEqual(path, targets[disk]!.path, subject)
      }
    })
  },
}

type CopyAll = (
  paths: readonly string[],
  targets: readonly ServedTarget[],
  bench: Bench,
) => Promise<{ readonly ms: number; readonly rss?: number }>

const COPY: Readonly<Record<(typeof SUBJECTS)[number], CopyAll>> = {
  blkferry: async (paths, targets, { folder }) => {
    await using scope = new Cleanup()
    const sources = await Promise.all(
      paths.map(async path => scope.use(await startSource('blkferry', { path, folder }))),
    )
    const startedAt = performance.now()
    await Promise.all(
      sources.map(async (source, disk) => {
        await source.start(targets[disk]!)
        await source.ready(READY_MS_MAX)
      }),
    )
    const ms = performance.now() - startedAt
    const uses = await Promise.all(sources.map(async ({ pid }) => (await memoryUse(pid)).pss))
    return { ms, rss: uses.reduce((sum, use) => sum + use, 0) }
  },
  'qemu mirror': async ([path = '', ...rest], targets, { folder }) => {
    const socket = join(folder, `eight-${performance.now()}`)
    const options = { path, paths: rest, socket, copyMode: 'background' } as const
    await using source = await QemuSource.serve(options)
    const startedAt = performance.now()
    for (const [disk, target] of targets.entries()) await source.start(target, disk)
    await Promise.all(targets.map((_, disk) => source.ready(READY_MS_MAX, disk)))
    const ms = performance.now() - startedAt
    return { ms, rss: (await memoryUse(source.pid)).pss }
  },
  nbdcopy: async (paths, targets) => {
    const startedAt = performance.now()
    await Promise.all(
      paths.map((path, disk) => mustRun(['nbdcopy', path, uriOf(targets[disk]!.socket)])),
    )
    return { ms: performance.now() - startedAt }
  },
}
