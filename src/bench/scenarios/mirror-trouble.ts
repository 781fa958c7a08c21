/**
 * Targets in trouble: one that hangs while guest writes go to both disks, and one that is gone for
 * a while. What counts is what the guest notices, and what must be sent again.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Cleanup } from '../cleanup.ts'
import { makeDisk, mustBeEqual } from '../measure/disks.ts'
import { Guest, wallMs } from '../measure/guest.ts'
import { startSource } from '../measure/mirror-source.ts'
import { OwnSource, STALL_MS } from '../measure/own-source.ts'
import { QemuSource } from '../measure/qemu-source.ts'
import { startServer } from '../measure/servers.ts'
import { type Bench, interleave, type Scenario } from '../scenario.ts'
import { READY_MS_MAX, serveTarget, settle } from './mirror-disks.ts'

const PACE = 2000
const GUEST_DEPTH = 16
const CHUNK = 64 * 1024
const DISK_BYTES = 256 * 2 ** 20
/** Slow enough that most of the chunks it dirties are dirtied once. */
const OUTAGE_PACE = 200

export const MIRROR_HANG: Scenario = {
  name: 'mirror-hang',
  title: 'The target hangs',
  shows:
    `The longest guest write (of ${PACE} a second) while a target is ` +
    'stopped for seconds in write-blocking mode; ours has a stall budget ' +
    `of ${STALL_MS} ms.`,
  doesNotShow:
    'What a guest’s own timeouts would have made of a longer hang, and ' +
    'other ways to hang: here the connection stays up and nothing answers.',
  plotted: 'max',
  needs: ['fio', 'nbdkit', 'qemu-storage-daemon'],
  repetitions: plan => plan.fewRepetitions,
  run: hang,
}

async function hang(bench: Bench): Promise<void> {
  const { plan, folder, record } = bench
  const name = `stopped for ${plan.hangSeconds} s`
  const subjects = ['blkferry', 'qemu blocking'] as const
  await interleave(bench, name, subjects, plan.fewRepetitions, async (subject, repetition) => {
    await using scope = new Cleanup()
    const path = await makeDisk(join(folder, 'source.img'), DISK_BYTES, 'full')
    const target = await serveTarget(scope, folder, { size: DISK_BYTES })
    const options = { path, folder, copyMode: 'write-blocking' } as const
    const source = scope.use(await startSource(subject, options))
    await source.start(target)
    await source.ready(READY_MS_MAX)
    const load = { uri: source.uri, rate: PACE, depth: GUEST_DEPTH, size: DISK_BYTES, folder }
    const guest = scope.use(await Guest.start(load, 1))

    const stoppedAt = wallMs()
    target.service.kill('SIGSTOP')
    await sleep(plan.hangSeconds * 1000)
    target.service.kill('SIGCONT')
    await sleep(500)
    const writes = await guest.stop()
    const seen = writes.between(stoppedAt, wallMs())
    record.add(name, 'max', subject, seen.microseconds(1))
    record.add(name, 'iops', subject, writes.iops(stoppedAt, stoppedAt + plan.hangSeconds * 1000))
    await source.ready(READY_MS_MAX)
    await settle(source)
    await source.complete()
    if (repetition === 0) await mustBeEqual(path, target.path, subject)
  })
}

export const MIRROR_OUTAGE: Scenario = {
  name: 'mirror-outage',
  title: 'The target is gone for a while',
  shows:
    'What is sent after the target was killed and came back, as a multiple ' +
    `of what the guest (${OUTAGE_PACE} writes a second) had dirtied ` +
    'meanwhile, in whole chunks; QEMU’s mirror ends with its target ' +
    'and begins anew.',
  doesNotShow:
    'Time: it depends on how often the target is tried again. A QEMU ' +
    'with a persistent bitmap of its own, set up beforehand, could send ' +
    'less than the whole disk.',
  plotted: 'bytes',
  needs: ['fio', 'nbdkit', 'qemu-storage-daemon'],
  repetitions: plan => plan.fewRepetitions,
  run: outage,
}

async function outage(bench: Bench): Promise<void> {
  const { plan, folder } = bench
  const name = `gone for ${plan.outageSeconds} s`
  // These are counts, not times: more than two add nothing.
  const repetitions = Math.min(2, plan.fewRepetitions)
  const subjects = ['blkferry', 'qemu blocking'] as const
  await interleave(bench, name, subjects, repetitions, async subject => {
    await using scope = new Cleanup()
    const path = await makeDisk(join(folder, 'source.img'), DISK_BYTES, 'full')
    const target = await serveTarget(scope, folder, { size: DISK_BYTES })
    const socket = join(folder, `outage-${wallMs()}`)
    const copyMode = 'write-blocking'
    const source =
      subject === 'blkferry'
        ? scope.use(await OwnSource.serve({ path, socket, copyMode }))
        : scope.use(await QemuSource.serve({ path, socket, copyMode }))
    await source.start(target)
    await source.ready(READY_MS_MAX)
    const sentBefore = await sentBytes(source)
    const load = { uri: source.uri, rate: OUTAGE_PACE, depth: 1, size: DISK_BYTES, folder }

    await target.service.killed()
    const guest = scope.use(await Guest.start(load, plan.outageSeconds))
    const writes = await guest.stop()
    const dirtied = await dirtiedBytes(source, writes.between(0, Number.POSITIVE_INFINITY).total)
    await rm(target.socket, { force: true })
    const stem = target.socket.replace(/\.nbd$/, '')
    scope.use(await startServer('nbdkit', { path: target.path, socket: stem }))
    if (source instanceof QemuSource) await source.start(target)
    await source.ready(READY_MS_MAX)
    await settle(source)
    // Ours counts from before the outage on, the new mirror of the peer has its own count.
    const sent = source instanceof QemuSource ? DISK_BYTES : (await sentBytes(source)) - sentBefore
    bench.record.add(name, 'bytes', subject, sent)
    bench.record.add(name, 'factor', subject, sent / dirtied)
    await source.complete()
    await mustBeEqual(path, target.path, subject)
  })
}

async function sentBytes(source: OwnSource | QemuSource): Promise<number> {
  if (source instanceof QemuSource) return 0
  const { copiedBytes, zeroedBytes, forwardedBytes } = await source.status()
  return copiedBytes + zeroedBytes + forwardedBytes
}

/** Ours knows; the peer’s job is gone, so as much as so many writes can dirty of its chunks. */
async function dirtiedBytes(source: OwnSource | QemuSource, writes: number): Promise<number> {
  if (source instanceof OwnSource) return await source.dirtyBytes()
  await source.lost(READY_MS_MAX)
  const chunks = DISK_BYTES / CHUNK
  return CHUNK * chunks * (1 - (1 - 1 / chunks) ** writes)
}
