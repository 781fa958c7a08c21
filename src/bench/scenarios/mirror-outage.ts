/**
 * A target that is killed in write-blocking mode and comes back: what counts is what must be sent
 * again. Writes that the target has acknowledged but not flushed may be lost with it, so it matters
 * whether the guest had flushed its disk before, as file systems do every few seconds.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { NbdClient } from 'nbd-client-ts'
import { Cleanup } from '../cleanup.ts'
import { makeDisk, mustBeEqual } from '../measure/disks.ts'
import { Guest, wallMs } from '../measure/guest.ts'
import { OwnSource } from '../measure/own-source.ts'
import { QemuSource } from '../measure/qemu-source.ts'
import { startServer } from '../measure/servers.ts'
import { type Bench, interleave, type Scenario } from '../scenario.ts'
import { READY_MS_MAX, serveTarget, settle } from './mirror-disks.ts'

/** Slow enough that most of the chunks it dirties are dirtied once. */
const PACE = 200
const DISK_BYTES = 256 * 2 ** 20
const CHUNK = 64 * 1024
/** These are counts, not times: more than two add nothing. */
const REPETITIONS_MAX = 2
const SUBJECTS = ['blkferry', 'qemu blocking'] as const

export const MIRROR_OUTAGE: Scenario = {
  name: 'mirror-outage',
  title: 'The target is gone for a while',
  shows:
    `What is sent after the target was killed and came back, as a multiple of what the guest ` +
    `(${PACE} writes a second) dirtied meanwhile in chunks of 64 KiB; ` +
    'QEMU’s mirror ends with its ' +
    'target, and a new one begins with the whole disk.',
  doesNotShow:
    'Time: it depends on how often the target is tried again. What the guest dirtied is reckoned ' +
    'from the number of its writes. A QEMU with a persistent bitmap of its own, set up ' +
    'beforehand, could send less than the whole disk.',
  plotted: 'bytes',
  needs: ['fio', 'nbdkit', 'qemu-storage-daemon'],
  repetitions: plan => Math.min(REPETITIONS_MAX, plan.fewRepetitions),
  run: async bench => {
    const { plan } = bench
    const name = `gone for ${plan.outageSeconds} s`
    const repetitions = Math.min(REPETITIONS_MAX, plan.fewRepetitions)
    await interleave(bench, `${name}, flushed before`, SUBJECTS, repetitions, subject =>
      measureOutage(bench, `${name}, flushed before`, subject, true),
    )
    bench.step(`${name}, never flushed`)
    await measureOutage(bench, `${name}, never flushed`, 'blkferry', false)
  },
}

async function measureOutage(
  { plan, folder, record }: Bench,
  name: string,
  subject: (typeof SUBJECTS)[number],
  isFlushed: boolean,
): Promise<void> {
  await using scope = new Cleanup()
  const path = await makeDisk(join(folder, 'source.img'), DISK_BYTES, 'full')
  const target = await serveTarget(scope, folder, { size: DISK_BYTES, filling: 'zero' })
  const socket = join(folder, `outage-${wallMs()}`)
  const source = scope.use(await serve(subject, path, socket))
  await source.start(target)
  await source.ready(READY_MS_MAX)
  if (isFlushed) await flush(source.uri)
  const sentBefore = await sentBytes(source)

  await target.service.killed()
  const load = { uri: source.uri, rate: PACE, depth: 1, size: DISK_BYTES, folder }
  const guest = scope.use(await Guest.start(load, plan.outageSeconds))
  const writes = (await guest.stop()).between(0, Number.POSITIVE_INFINITY).total
  if (source instanceof QemuSource) await source.lost(READY_MS_MAX)
  await rm(target.socket, { force: true })
  const stem = target.socket.replace(/\.nbd$/, '')
  scope.use(await startServer('nbdkit', { path: target.path, socket: stem }))
  if (source instanceof QemuSource) await source.start(target)
  await source.ready(READY_MS_MAX)
  await settle(source)

  // Ours counts on, the peer's new mirror sends everything.
  const sent = source instanceof QemuSource ? DISK_BYTES : (await sentBytes(source)) - sentBefore
  record.add(name, 'bytes', subject, sent)
  record.add(name, 'factor', subject, sent / dirtiedBytes(writes))
  await source.complete()
  await mustBeEqual(path, target.path, subject)
}

async function serve(
  subject: (typeof SUBJECTS)[number],
  path: string,
  socket: string,
): Promise<OwnSource | QemuSource> {
  const copyMode = 'write-blocking'
  if (subject === 'blkferry') return await OwnSource.serve({ path, socket, copyMode })
  return await QemuSource.serve({ path, socket, copyMode })
}

async function flush(uri: string): Promise<void> {
  const client = await NbdClient.connect(uri)
  await client.flush()
  await client.disconnect()
}

async function sentBytes(source: OwnSource | QemuSource): Promise<number> {
  if (source instanceof QemuSource) return 0
  const { copiedBytes, zeroedBytes, forwardedBytes } = await source.status()
  return copiedBytes + zeroedBytes + forwardedBytes
}

/** Chunks that so many writes at random places are expected to touch. Pure. */
function dirtiedBytes(writes: number): number {
  const chunks = DISK_BYTES / CHUNK
  return CHUNK * chunks * (1 - (1 - 1 / chunks) ** writes)
}
