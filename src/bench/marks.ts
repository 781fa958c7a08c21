/**
 * The marks: what blkferry wants to reach, as data. A mark divides what was measured of one subject
 * by what was measured of another (or by a constant), and compares the worst of its cases with a
 * threshold.
 */
import type { MetricName } from './metrics.ts'
import type { SubjectName } from './subjects.ts'

export interface Figure {
  readonly scenario: string
  readonly metric: MetricName
  readonly subject: SubjectName
}

export interface Mark {
  readonly what: string
  readonly of: Figure
  /** All must meet it: the worst one counts. */
  readonly cases: readonly string[]
  /** The divisor: another subject in the same case, one case of another figure, or a constant. */
  readonly against:
    | { readonly subject: SubjectName }
    | { readonly subject: SubjectName; readonly case: string }
    | { readonly constant: number; readonly unit: string }
  readonly direction: '>=' | '<='
  readonly threshold: number
}

const QD32 = ['read QD32', 'write QD32'] as const
const QD1 = ['read QD1', 'write QD1'] as const
const SEQUENTIAL = ['256k read QD8', '256k write QD8'] as const
const SIZES = ['1 GiB', '1 TiB', '16 TiB'] as const
const MIB = 2 ** 20
/** Of `max`, `p99` and the like, which are in microseconds. */
const STALL_BUDGET_US = 100_000

const iops: Figure = { scenario: 'serve-4k', metric: 'iops', subject: 'blkferry' }
const sequential: Figure = { scenario: 'serve-sequential', metric: 'rate', subject: 'blkferry' }
const idle: Figure = { scenario: 'mirror-idle', metric: 'rate', subject: 'blkferry' }
const paced: Figure = { scenario: 'mirror-paced', metric: 'p99', subject: 'blkferry' }

export const MARKS: readonly Mark[] = [
  atLeast(2.5, 'serve 4k QD32', iops, QD32, 'qemu-nbd'),
  atLeast(1, 'serve 4k QD32', iops, QD32, 'nbdkit'),
  atMost(1, 'serve 4k QD1, latency p50', { ...iops, metric: 'p50' }, QD1, 'nbdkit'),
  atLeast(1.5, 'serve 256k sequential', sequential, SEQUENTIAL, 'qemu-nbd'),
  atLeast(1, 'serve 256k sequential', sequential, SEQUENTIAL, 'nbdkit'),
  atLeast(1.2, 'libuv engine 4k QD32', { ...iops, subject: 'blkferry libuv' }, QD32, 'qemu-nbd'),
  atLeast(1.5, 'idle copy, full disk', idle, ['full to nbdkit'], 'qemu mirror'),
  atLeast(1, 'idle copy, full disk', idle, ['full to nbdkit'], 'nbdcopy'),
  {
    what: 'idle copy, TLS against plain',
    of: { ...idle, scenario: 'mirror-idle-tls' },
    cases: ['full to nbdkit, TLS'],
    against: { subject: 'blkferry', case: 'full to nbdkit' },
    direction: '>=',
    threshold: 0.6,
  },
  atMost(0.5, 'paced guest during the copy, p99', paced, ['2000 writes/s'], 'qemu mirror'),
  atMost(0.1, 'paced guest during the copy, p99', paced, ['2000 writes/s'], 'qemu blocking'),
  atMost(
    1,
    'unthrottled guest, time to ready',
    { scenario: 'mirror-unthrottled', metric: 'time', subject: 'blkferry' },
    ['all it can'],
    'qemu blocking',
  ),
  {
    what: 'unthrottled guest, requests/s kept during the copy',
    of: { scenario: 'mirror-unthrottled', metric: 'share', subject: 'blkferry' },
    cases: ['all it can'],
    against: { constant: 1, unit: '× its own without a mirror' },
    direction: '>=',
    threshold: 0.5,
  },
  atLeast(
    2,
    'steady write-blocking, 4k QD32',
    { scenario: 'mirror-steady', metric: 'iops', subject: 'blkferry' },
    ['write-blocking, QD32'],
    'qemu blocking',
  ),
  {
    what: 'switchover, idle and under load, p99',
    of: { scenario: 'mirror-switchover', metric: 'p99', subject: 'blkferry' },
    cases: ['idle', '2000 writes/s'],
    against: { constant: 1000, unit: 'ms' },
    direction: '<=',
    threshold: 10,
  },
  {
    what: 'target hung, longest guest write',
    of: { scenario: 'mirror-hang', metric: 'max', subject: 'blkferry' },
    cases: ['stopped for 5 s', 'stopped for 2 s'],
    against: { constant: STALL_BUDGET_US, unit: '× the stall budget' },
    direction: '<=',
    threshold: 1.5,
  },
  {
    what: 'RSS of a serving process, any size',
    of: { scenario: 'scale-memory', metric: 'bytes', subject: 'blkferry' },
    cases: SIZES.flatMap(size => [`RSS, ${size}`, `RSS with a mirror, ${size}`]),
    against: { constant: MIB, unit: 'MiB' },
    direction: '<=',
    threshold: 120,
  },
  atMost(1, 'CPU per request, 4k QD32', { ...iops, metric: 'cpu/request' }, QD32, 'nbdkit'),
  {
    what: '16 TiB: start to first request served',
    of: { scenario: 'scale-memory', metric: 'time', subject: 'blkferry' },
    cases: ['start, 16 TiB'],
    against: { constant: 1000, unit: 's' },
    direction: '<=',
    threshold: 1,
  },
]

function atLeast(
  threshold: number,
  what: string,
  of: Figure,
  cases: readonly string[],
  subject: SubjectName,
): Mark {
  return { what, of, cases, against: { subject }, direction: '>=', threshold }
}

function atMost(
  threshold: number,
  what: string,
  of: Figure,
  cases: readonly string[],
  subject: SubjectName,
): Mark {
  return { what, of, cases, against: { subject }, direction: '<=', threshold }
}
