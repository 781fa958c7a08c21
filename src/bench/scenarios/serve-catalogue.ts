/** The server scenarios: which loads, on what. */
import type { Scenario } from '../scenario.ts'
import { type Case, serveScenario } from './serve.ts'

const DEPTHS = [1, 8, 32] as const
const JOBS = [1, 4] as const

/** `read QD32`, `write QD8 x4`. */
const RANDOM: readonly Case[] = JOBS.flatMap(jobs =>
  DEPTHS.flatMap(depth =>
    (['read', 'write'] as const).map(direction => ({
      name: `${direction} QD${depth}${jobs === 1 ? '' : ` x${jobs}`}`,
      load: { rw: `rand${direction}` as const, bs: '4k', depth, jobs },
      isSlow: depth === 8 || jobs === 4,
      isForEngines: jobs === 1 && depth !== 8,
    })),
  ),
)

const SEQUENTIAL: readonly Case[] = (['256k', '1m'] as const).flatMap(bs =>
  (['read', 'write'] as const).map(direction => ({
    name: `${bs} ${direction} QD8`,
    load: { rw: direction, bs, depth: 8 },
    isSlow: bs === '1m',
  })),
)

const SYNCED: readonly Case[] = [
  { name: 'write QD1, each flushed', load: { rw: 'randwrite', bs: '4k', depth: 1, fsync: 1 } },
]
const MIXED: readonly Case[] = [
  { name: '70 read, 30 write QD16', load: { rw: 'randrw', bs: '4k', depth: 16 } },
]

/** For media whose own speed is most of what is seen. */
const SMALL: readonly Case[] = [
  { name: 'read QD1', load: { rw: 'randread', bs: '4k', depth: 1 }, isSlow: true },
  { name: 'read QD32', load: { rw: 'randread', bs: '4k', depth: 32 } },
  { name: 'write QD32', load: { rw: 'randwrite', bs: '4k', depth: 32 } },
]
const FEW: readonly Case[] = [
  ...SMALL,
  { name: '256k write QD8', load: { rw: 'write', bs: '256k', depth: 8 }, isSlow: true },
  {
    name: 'write QD1, each flushed',
    load: { rw: 'randwrite', bs: '4k', depth: 1, fsync: 1 },
    isSlow: true,
  },
]

export const SERVE_SCENARIOS: readonly Scenario[] = [
  serveScenario({
    name: 'serve-4k',
    title: 'Serving 4 KiB at random',
    shows:
      'Requests a second and latency of random 4 KiB reads and writes ' +
      'on a disk in memory, with 1, 8 and 32 requests under way on each ' +
      'of 1 or 4 connections.',
    doesNotShow:
      'A real disk, which takes longer than all of this together, and ' +
      'a network: the disk is memory and the client on the same cores ' +
      'takes a good part of them.',
    plotted: 'iops',
    medium: 'memory',
    cases: RANDOM,
  }),
  serveScenario({
    name: 'serve-sequential',
    title: 'Serving large requests in sequence',
    shows: 'Bytes a second of 256 KiB and 1 MiB requests, eight under way, on a disk in memory.',
    doesNotShow:
      'What a network or a disk leaves of it; half of the time is spent ' +
      'copying in memory on both sides of a unix socket.',
    plotted: 'rate',
    medium: 'memory',
    cases: SEQUENTIAL,
  }),
  serveScenario({
    name: 'serve-flush',
    title: 'Serving writes that are flushed one by one',
    shows: 'Writes a second when a flush follows each, as a database’s log does, in memory.',
    doesNotShow:
      'The cost of a real flush: on tmpfs it costs nothing, so this is ' +
      'the round trips only; serve-direct has it on a disk.',
    plotted: 'iops',
    medium: 'memory',
    cases: SYNCED,
  }),
  serveScenario({
    name: 'serve-mixed',
    title: 'Serving a mix of reads and writes',
    shows: 'Random 4 KiB requests, 70 reads to 30 writes, 16 under way, on a disk in memory.',
    doesNotShow: 'Any particular application: real mixes have sizes, pauses and hot spots.',
    plotted: 'iops',
    medium: 'memory',
    cases: MIXED,
  }),
  serveScenario({
    name: 'serve-direct',
    title: 'Serving a file past the page cache',
    shows: 'A file on a real file system, opened with O_DIRECT by ours and qemu-nbd.',
    doesNotShow:
      'A difference between servers where the disk is the limit; and nbdkit ' +
      'has no O_DIRECT: it uses the page cache and drops its pages, so ' +
      'its reads and writes may come from memory.',
    plotted: 'iops',
    medium: 'direct',
    cases: FEW,
  }),
  serveScenario({
    name: 'serve-loop',
    title: 'Serving a block device',
    shows: 'A loop device over a file on a real file system, opened with O_DIRECT.',
    doesNotShow:
      'A physical disk: a loop device adds a kernel thread of its own ' +
      'between server and file, and nbdkit uses the page cache.',
    plotted: 'iops',
    medium: 'loop',
    cases: SMALL,
  }),
]
