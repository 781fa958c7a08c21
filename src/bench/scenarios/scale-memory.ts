/**
 * Size: what a serving process takes to start and to live, from a disk of 1 GiB to one of 16 TiB.
 * The disks are sparse; only their first part is used.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { NbdClient } from 'nbd-client-ts'
import { Cleanup } from '../cleanup.ts'
import { makeDisk } from '../measure/disks.ts'
import { type Load, measure } from '../measure/fio.ts'
import { OwnSource } from '../measure/own-source.ts'
import { type ServerName, startServer, uriOf } from '../measure/servers.ts'
import { memoryUse } from '../measure/usage.ts'
import { type Bench, interleave, type Scenario } from '../scenario.ts'
import type { SubjectName } from '../subjects.ts'
import { serveTarget } from './mirror-disks.ts'

const SUBJECTS: readonly Exclude<ServerName, 'blkferry libuv'>[] = [
  'blkferry',
  'nbdkit',
  'qemu-nbd',
]
const GIB = 2 ** 30
const SIZES = [
  ['1 GiB', GIB],
  ['1 TiB', 1024 * GIB],
  ['16 TiB', 16 * 1024 * GIB],
] as const
const USED_BYTES = 128 * 2 ** 20
const LOADS: readonly Omit<Load, 'seconds' | 'fsync' | 'size'>[] = [
  { rw: 'randwrite', bs: '4k', depth: 32, jobs: 4 },
  { rw: 'read', bs: '1m', depth: 16, jobs: 4 },
]

export const SCALE_MEMORY: Scenario = {
  name: 'scale-memory',
  title: 'Memory and start-up by size of the disk',
  shows:
    'Time from starting the process to the answer to its first read, ' +
    'and its memory after 4 KiB writes and 1 MiB reads on four connections; ' +
    'for ours once more with a mirror under way, whose dirty bitmap ' +
    'is a shared mapping and counted by itself.',
  doesNotShow:
    'The page cache, which belongs to nobody, and what a shared library ' +
    'costs the first of its users. Memory is read after the load, so ' +
    'a shorter peak within it is not seen.',
  plotted: 'bytes',
  needs: ['fio', 'nbdkit', 'qemu-nbd'],
  repetitions: plan => (plan.quick ? 1 : 3),
  run: async bench => {
    // The largest disk has the largest bitmap.
    for (const [label, size] of bench.plan.quick ? SIZES.slice(-1) : SIZES) {
      const path = await makeDisk(join(bench.folder, 'large.img'), size, 'zero')
      await interleave(bench, label, SUBJECTS, bench.plan.quick ? 1 : 3, async subject =>
        measureServer(bench, label, subject, path),
      )
      bench.step(`${label}, with a mirror`)
      await measureMirror(bench, label, path, size)
      await rm(path)
    }
  },
}

async function measureServer(
  { folder, record }: Bench,
  label: string,
  subject: ServerName,
  path: string,
): Promise<void> {
  await using scope = new Cleanup()
  const socket = join(folder, `server-${performance.now()}`)
  const service = scope.use(await startServer(subject, { path, socket }))
  const client = await NbdClient.connect(uriOf(service.socket))
  await client.read(0, 4096)
  record.add(`start, ${label}`, 'time', subject, performance.now() - service.startedAt)
  await client.disconnect()
  await loadAll(uriOf(service.socket), folder)
  await recordMemory(record, `RSS, ${label}`, subject, service.pid)
}

async function loadAll(uri: string, folder: string): Promise<void> {
  for (const load of LOADS) {
    await measure({ ...load, seconds: 0.5, fsync: 0, size: USED_BYTES }, { uri }, folder)
  }
}

async function recordMemory(
  record: Bench['record'],
  name: string,
  subject: SubjectName,
  pid: number,
): Promise<void> {
  const { rss, pss, shared } = await memoryUse(pid)
  record.add(name, 'bytes', subject, rss - shared)
  record.add(name.replace('RSS', 'PSS'), 'bytes', subject, pss)
  if (shared > 0) record.add(name.replace('RSS', 'shared mappings'), 'bytes', subject, shared)
}

/** Under load while the mirror copies, or has copied. */
async function measureMirror(
  { folder, record }: Bench,
  label: string,
  path: string,
  size: number,
): Promise<void> {
  await using inner = new Cleanup()
  const target = await serveTarget(inner, folder, { size, filling: 'zero' })
  const socket = join(folder, `mirrored-${performance.now()}`)
  const bitmap = `${socket}.bitmap`
  const source = inner.use(await OwnSource.serve({ path, socket, bitmap, copyMode: 'auto' }))
  const startedAt = performance.now()
  await source.start(target)
  record.add(`mirror starts, ${label}`, 'time', 'blkferry', performance.now() - startedAt)
  await loadAll(source.uri, folder)
  await recordMemory(record, `RSS with a mirror, ${label}`, 'blkferry', source.pid)
}
