/**
 * Idle copies: nobody writes while the disk is copied. The clock runs from the command to start
 * until the mirror is ready, or until the copying tool ends. A full disk is copied over one that
 * has all of its pages, as a disk has; one with holes goes to an empty one.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { Cleanup } from '../cleanup.ts'
import { emptyDisk, type Filling, fillDisk, makeDisk, mustBeEqual } from '../measure/disks.ts'
import { startSource } from '../measure/mirror-source.ts'
import { type ServerName, type TlsKey, uriOf } from '../measure/servers.ts'
import { mustRun } from '../measure/tool.ts'
import { cpuSeconds } from '../measure/usage.ts'
import { type Bench, interleave, type Scenario } from '../scenario.ts'
import { makeKey, READY_MS_MAX, type ServedTarget, serveTarget } from './mirror-disks.ts'

interface Case {
  readonly filling: Filling
  readonly server: ServerName
}

const COPIERS = ['blkferry', 'qemu mirror', 'nbdcopy'] as const
/** Beside TLS, in a quick run. */
const FEW_COPIERS = ['blkferry', 'nbdcopy'] as const

/** The first has a mark, and is all of a quick run. */
const CASES: readonly Case[] = (['full', 'half', 'zero'] as const).flatMap(filling =>
  (['nbdkit', 'qemu-nbd', 'blkferry'] as const).map(server => ({ filling, server })),
)

export const MIRROR_IDLE: Scenario = {
  name: 'mirror-idle',
  title: 'Copying an idle disk',
  shows:
    'Bytes of disk a second from the start of the mirror until it is ' +
    'ready, with processor time of the source’s process, to three kinds ' +
    'of target; every first copy is compared with its source.',
  doesNotShow:
    'A network or a disk, one of which limits every real copy; and nbdcopy ' +
    'copies only, it cannot follow a disk that is being written to.',
  plotted: 'rate',
  needs: ['nbdkit', 'qemu-storage-daemon', 'qemu-nbd', 'nbdcopy'],
  repetitions: plan => plan.repetitions,
  run: async bench => {
    const copiers = [...COPIERS, 'bare file' as const]
    const size = bench.plan.mirrorBytes
    for (const each of wanted(bench)) await measureCase(bench, each, { copiers, size })
  },
}

export const MIRROR_IDLE_TLS: Scenario = {
  name: 'mirror-idle-tls',
  title: 'Copying an idle disk over TLS',
  shows: 'The same copy with TLS and a pre-shared key, and beside it once more without TLS.',
  doesNotShow:
    'What encryption costs between two hosts: here one machine encrypts ' +
    'and decrypts at once, on the same cores.',
  plotted: 'rate',
  needs: ['nbdkit', 'qemu-storage-daemon', 'qemu-nbd', 'nbdcopy'],
  repetitions: plan => plan.repetitions,
  run: async bench => {
    const tls = await makeKey(bench.folder)
    const copiers = bench.plan.quick ? FEW_COPIERS : COPIERS
    const size = bench.plan.tlsBytes
    await measureCase(bench, CASES[0]!, { copiers, size })
    for (const each of wanted(bench)) await measureCase(bench, each, { copiers, size, tls })
  },
}

function wanted({ plan }: Bench): readonly Case[] {
  return plan.quick ? CASES.slice(0, 1) : CASES
}

interface CaseOptions {
  readonly copiers: readonly (keyof typeof COPY)[]
  readonly size: number
  readonly tls?: TlsKey
}

async function measureCase(
  bench: Bench,
  { filling, server }: Case,
  { copiers, size, tls }: CaseOptions,
): Promise<void> {
  const { plan, folder, record } = bench
  const name = `${filling} to ${server}${tls === undefined ? '' : ', TLS'}`
  await using scope = new Cleanup()
  const path = await makeDisk(join(folder, `source-${filling}.img`), size, filling)
  scope.defer(() => rm(path, { force: true }))
  const isFull = filling === 'full'
  const target = await serveTarget(scope, folder, {
    size,
    filling: isFull ? 'full' : 'zero',
    server,
    tls,
  })
  await interleave(bench, name, copiers, plan.repetitions, async (subject, repetition) => {
    const prepare = async () => {
      if (!isFull) await emptyDisk(target.path, size)
      // What was copied before must not pass for this copy.
      else if (repetition === 0) await fillDisk(target.path, size)
    }
    const copied = await COPY[subject](path, target, prepare, bench)
    if (repetition === 0) await mustBeEqual(path, target.path, subject)
    record.add(name, 'rate', subject, (size / copied.ms) * 1000)
    if (copied.cpu !== undefined) {
      record.add(name, 'cpu/GiB', subject, (copied.cpu / size) * 2 ** 30)
    }
  })
}

interface Copied {
  readonly ms: number
  readonly cpu?: number
}

/** Calls `prepare` when it could begin, and begins. */
type Copy = (
  path: string,
  target: ServedTarget,
  prepare: () => Promise<void>,
  bench: Bench,
) => Promise<Copied>

function mirror(subject: 'blkferry' | 'qemu mirror'): Copy {
  return async (path, target, prepare, { folder }) => {
    await using source = await startSource(subject, { path, folder })
    await prepare()
    const cpuBefore = await cpuSeconds(source.pid)
    const startedAt = performance.now()
    await source.start(target)
    await source.ready(READY_MS_MAX)
    const ms = performance.now() - startedAt
    const cpu = (await cpuSeconds(source.pid)) - cpuBefore
    await source.complete()
    return { ms, cpu }
  }
}

async function timed(prepare: () => Promise<void>, argv: readonly string[]): Promise<Copied> {
  await prepare()
  const startedAt = performance.now()
  await mustRun(argv)
  return { ms: performance.now() - startedAt }
}

const COPY: Readonly<Record<'blkferry' | 'qemu mirror' | 'nbdcopy' | 'bare file', Copy>> = {
  blkferry: mirror('blkferry'),
  'qemu mirror': mirror('qemu mirror'),
  nbdcopy: (path, { socket, tls }, prepare) =>
    timed(prepare, ['nbdcopy', '--flush', path, uriOf(socket, tls)]),
  'bare file': (path, target, prepare) =>
    timed(prepare, [
      'dd',
      `if=${path}`,
      `of=${target.path}`,
      'bs=1M',
      'conv=notrunc',
      'status=none',
    ]),
}
