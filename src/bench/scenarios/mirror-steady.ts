/**
 * A guest in the steady state after the copy, when every write goes to both disks before it is
 * answered; beside it the same server with no mirror. The target is nbdkit for everybody.
 */
import { join } from 'node:path'
import { Cleanup } from '../cleanup.ts'
import { makeDisk, mustBeEqual } from '../measure/disks.ts'
import { measure } from '../measure/fio.ts'
import { startSource } from '../measure/mirror-source.ts'
import { type Bench, interleave, type Scenario } from '../scenario.ts'
import { READY_MS_MAX, serveTarget, settle } from './mirror-disks.ts'

export const MIRROR_STEADY: Scenario = {
  name: 'mirror-steady',
  title: 'Writing to both disks at once',
  shows:
    'Writes a second and latency of a guest whose every write is on ' +
    'both disks before it is answered, one and 32 at a time, and for ' +
    'comparison without any mirror.',
  doesNotShow:
    'The way to another host, which adds its round trip to every write, ' +
    'whoever does the mirroring.',
  plotted: 'iops',
  needs: ['fio', 'nbdkit', 'qemu-storage-daemon'],
  repetitions: plan => plan.repetitions,
  run: steady,
}

async function steady(bench: Bench): Promise<void> {
  const { plan, folder } = bench
  const size = plan.serveBytes
  const path = join(folder, 'source.img')
  const subjects = ['blkferry', 'qemu blocking'] as const
  await interleave(
    bench,
    'write-blocking',
    subjects,
    plan.repetitions,
    async (subject, repetition) => {
      await using scope = new Cleanup()
      await makeDisk(path, size, 'full')
      const target = await serveTarget(scope, folder, { size, filling: 'full' })
      const options = { path, folder, copyMode: 'write-blocking' } as const
      const source = scope.use(await startSource(subject, options))
      await measureSteady(bench, 'no mirror', subject, source.uri)
      await source.start(target)
      await source.ready(READY_MS_MAX)
      await settle(source)
      await measureSteady(bench, 'write-blocking', subject, source.uri)
      await settle(source)
      await source.complete()
      if (repetition === 0) await mustBeEqual(path, target.path, subject)
    },
  )
}

async function measureSteady(
  { plan, folder, record }: Bench,
  what: string,
  subject: 'blkferry' | 'qemu blocking',
  uri: string,
): Promise<void> {
  for (const depth of [1, 32]) {
    const load = { rw: 'randwrite', bs: '4k', depth, jobs: 1, fsync: 0 } as const
    const whole = { ...load, seconds: plan.loadSeconds, size: plan.serveBytes }
    const { iops, latencies } = await measure(whole, { uri }, folder)
    const name = `${what}, QD${depth}`
    record.add(name, 'iops', subject, iops)
    record.add(name, 'p50', subject, latencies.microseconds(0.5))
    record.add(name, 'p99', subject, latencies.microseconds(0.99))
    record.addLatencies(name, subject, latencies)
  }
}
