/**
 * A guest that writes while its disk is copied, at a fixed pace or without a limit. The target is
 * nbdkit for everybody.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cleanup } from '../cleanup.ts'
import { makeDisk, mustBeEqual } from '../measure/disks.ts'
import { Guest, wallMs } from '../measure/guest.ts'
import { type MirrorSource, type MirrorSubject, startSource } from '../measure/mirror-source.ts'
import { type Bench, interleave, type Scenario } from '../scenario.ts'
import { serveTarget, settle } from './mirror-disks.ts'

const SUBJECTS = ['blkferry', 'qemu mirror', 'qemu blocking'] as const
const CONVERGING = ['blkferry', 'qemu blocking'] as const
const PACE = 2000
const GUEST_DEPTH = 16
/** The guest's life before the mirror: enough to know its speed, after a while to warm up. */
const BEFORE_SECONDS = 1
const QUICK_BEFORE_SECONDS = 0.5
const SKIPPED_SECONDS = 0.25
/** A mirror that does not catch up with its guest is given up after so long. */
const PATIENCE_MS = 8000
const QUICK_PATIENCE_MS = 3000
const DIRTY_EVERY_MS = 20

export const MIRROR_PACED: Scenario = {
  name: 'mirror-paced',
  title: 'Copying under a guest with a steady pace',
  shows:
    `Latency of ${PACE} random 4 KiB writes a second while the whole ` +
    'disk is copied, and the time until the mirror is ready.',
  doesNotShow:
    'Writes that were due while an earlier one took long: fio waits ' +
    'for it and then catches up, so that every tail is longer in truth; ' +
    'of a copy of a second p99.9 is two writes.',
  plotted: 'p99',
  needs: ['fio', 'nbdkit', 'qemu-storage-daemon'],
  repetitions: plan => plan.repetitions,
  run: bench => copyUnderGuest(bench, { name: `${PACE} writes/s`, rate: PACE, subjects: SUBJECTS }),
}

export const MIRROR_UNTHROTTLED: Scenario = {
  name: 'mirror-unthrottled',
  title: 'Copying under a guest that writes all it can',
  shows:
    'Time until the mirror is ready, and the share of its own earlier ' +
    'writes a second that the guest keeps meanwhile; a mirror that never ' +
    `catches up is given up after ${PATIENCE_MS / 1000} s (${QUICK_PATIENCE_MS / 1000} ` +
    's in a quick run).',
  doesNotShow:
    'The price of either alone: a mirror can be ready early by slowing ' +
    'its guest down, so read both lines together.',
  plotted: 'share',
  needs: ['fio', 'nbdkit', 'qemu-storage-daemon'],
  repetitions: plan => plan.repetitions,
  run: bench => {
    // QEMU's background mirror does not catch up, which takes all the patience there is.
    const subjects = bench.plan.quick ? CONVERGING : SUBJECTS
    return copyUnderGuest(bench, { name: 'all it can', rate: 0, subjects })
  },
}

async function copyUnderGuest(
  bench: Bench,
  { name, rate, subjects }: { name: string; rate: number; subjects: readonly MirrorSubject[] },
): Promise<void> {
  const { plan, folder, record } = bench
  const size = plan.mirrorBytes
  const beforeSeconds = plan.quick ? QUICK_BEFORE_SECONDS : BEFORE_SECONDS
  await interleave(bench, name, subjects, plan.repetitions, async (subject, repetition) => {
    await using scope = new Cleanup()
    const path = await makeDisk(join(folder, 'source.img'), size, 'full')
    scope.defer(() => rm(path, { force: true }))
    const target = await serveTarget(scope, folder, { size, filling: 'full' })
    const source = scope.use(await startSource(subject, { path, folder }))
    const options = { uri: source.uri, rate, depth: GUEST_DEPTH, size, folder }
    const guest = scope.use(await Guest.start(options, beforeSeconds + SKIPPED_SECONDS))

    const startedAt = wallMs()
    await source.start(target)
    const watch = watchDirty(source)
    const patience = plan.quick ? QUICK_PATIENCE_MS : PATIENCE_MS
    const isReady = await source.ready(patience).then(
      () => true,
      () => false,
    )
    const readyAt = wallMs()
    const line = await watch.stop()
    const writes = await guest.stop()

    record.setDirty(name, subject, line)
    record.add(name, 'time', subject, readyAt - startedAt)
    if (!isReady) {
      record.note(`The mirror of ${subject} did not become ready in ${patience / 1000} s.`)
    }
    const during = writes.between(startedAt, readyAt)
    const iopsBefore = writes.iops(startedAt - beforeSeconds * 1000, startedAt)
    record.add(name, 'iops', subject, writes.iops(startedAt, readyAt))
    if (rate === 0) {
      record.add(name, 'share', subject, writes.iops(startedAt, readyAt) / iopsBefore)
    }
    for (const [metric, share] of PERCENTILES) {
      record.add(name, metric, subject, during.microseconds(share))
    }
    record.addLatencies(name, subject, during)
    if (!isReady) return
    // The guest is gone: what is dirty now is little.
    await settle(source)
    await source.complete()
    if (repetition === 0) await mustBeEqual(path, target.path, subject)
  })
}

const PERCENTILES = [
  ['p50', 0.5],
  ['p99', 0.99],
  ['p99.9', 0.999],
  ['max', 1],
] as const

/** Asks now and then, until told to stop. */
function watchDirty(source: MirrorSource) {
  const startedAt = wallMs()
  const points: (readonly [number, number])[] = []
  let isOver = false
  const loop = async (): Promise<void> => {
    while (!isOver) {
      const bytes = await source.dirtyBytes().catch(() => undefined)
      if (bytes !== undefined) points.push([Math.round(wallMs() - startedAt), bytes])
      await sleep(DIRTY_EVERY_MS)
    }
  }
  const looping = loop()
  const stop = async () => {
    isOver = true
    await looping
    return points
  }
  return { stop }
}
