/**
 * Switchover: a mirror that is ready is ended with both disks equal and the target flushed. Ours
 * says for how long its clients were held; for the peer it is the time from the command to its
 * event of completion, by QEMU's own clock. The disk is small, so that many can be measured.
 */
import { join } from 'node:path'
import { Cleanup } from '../cleanup.ts'
import { makeDisk } from '../measure/disks.ts'
import { Guest } from '../measure/guest.ts'
import { type MirrorSource, startSource } from '../measure/mirror-source.ts'
import type { Bench, Scenario } from '../scenario.ts'
import { quantile } from '../statistics.ts'
import { READY_MS_MAX, type ServedTarget, serveTarget } from './mirror-disks.ts'

const SUBJECTS = ['blkferry', 'qemu blocking'] as const
const DISK_BYTES = 64 * 2 ** 20
const PACE = 2000
const GUEST_DEPTH = 16

export const MIRROR_SWITCHOVER: Scenario = {
  name: 'mirror-switchover',
  title: 'Switchover',
  shows:
    'How long it takes to end a ready mirror with both disks equal, ' +
    `while the guest is silent and while it writes ${PACE} times a second; ` +
    'p50, p99 and maximum of all switchovers of the run.',
  doesNotShow:
    'The downtime of a migration, in which memory has its part; and ' +
    'the peer holds nobody here, its users stop the guest’s processors ' +
    'first.',
  plotted: 'p99',
  needs: ['fio', 'nbdkit', 'qemu-storage-daemon'],
  repetitions: plan => plan.switchovers,
  run: async bench => {
    for (const name of ['idle', `${PACE} writes/s`]) {
      for (const subject of SUBJECTS) {
        bench.checkSignal()
        bench.step(`${name}, ${subject}`)
        await measureMany(bench, name, subject)
      }
    }
  },
}

async function measureMany(
  bench: Bench,
  name: string,
  subject: (typeof SUBJECTS)[number],
): Promise<void> {
  const { plan, folder, record } = bench
  await using scope = new Cleanup()
  const path = await makeDisk(join(folder, 'source.img'), DISK_BYTES, 'full')
  const target = await serveTarget(scope, folder, { size: DISK_BYTES, filling: 'zero' })
  const source = scope.use(await startSource(subject, { path, folder }))
  if (name !== 'idle') {
    const guest = { uri: source.uri, rate: PACE, depth: GUEST_DEPTH, size: DISK_BYTES, folder }
    scope.use(await Guest.start(guest, 0.5))
  }
  const times: number[] = []
  for (let turn = 0; turn < plan.switchovers; turn += 1) {
    bench.checkSignal()
    times.push(await switchOver(source, target))
  }
  // Percentiles over all switchovers: one sample each, for there is nothing to repeat.
  record.add(name, 'p50', subject, quantile(times, 0.5) * 1000)
  record.add(name, 'p99', subject, quantile(times, 0.99) * 1000)
  record.add(name, 'max', subject, Math.max(...times) * 1000)
  record.note(
    `Each figure is of ${plan.switchovers} switchovers, so that p99 is close to the maximum.`,
  )
}

async function switchOver(source: MirrorSource, target: ServedTarget): Promise<number> {
  await source.start(target)
  await source.ready(READY_MS_MAX)
  return await source.complete()
}
