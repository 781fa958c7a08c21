/**
 * fio as the client. One run is one load for a fixed time; what it prints is checked for errors and
 * reduced to what the tables need. The loads are files in fixtures/fio/measure.
 */
import { randomUUID } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Histogram } from '../histogram.ts'
import { mustRun } from './tool.ts'

const FIXTURES = fileURLToPath(new URL('../../../fixtures/fio/measure/', import.meta.url))

export interface Load {
  readonly rw: 'randread' | 'randwrite' | 'read' | 'write' | 'randrw'
  /** As fio writes it: 4k, 256k, 1m. */
  readonly bs: string
  readonly depth: number
  /** Connections, each with `depth` requests under way. */
  readonly jobs: number
  /** A flush after every so many writes; 0 for none. */
  readonly fsync: number
  readonly seconds: number
  /** The area used, from the start of the disk, in bytes. */
  readonly size: number
}

export type Disk = { readonly uri: string } | { readonly file: string; readonly direct: boolean }

export interface Measured {
  readonly requests: number
  readonly bytes: number
  readonly iops: number
  readonly bytesPerSecond: number
  readonly latencies: Histogram
}

/** Rejects with fio's own words if it fails. `folder` takes a file that is removed again. */
export async function measure(load: Load, disk: Disk, folder: string): Promise<Measured> {
  const output = join(folder, `${randomUUID()}.json`)
  const isNbd = 'uri' in disk
  const argv = ['fio', '--eta=never', '--output-format=json+', `--output=${output}`]
  try {
    await mustRun([...argv, fixture(isNbd ? 'nbd' : 'file')], {
      ...(isNbd
        ? { URI: disk.uri }
        : { FILE: escapeColons(disk.file), DIRECT: disk.direct ? '1' : '0' }),
      RW: load.rw,
      BS: load.bs,
      DEPTH: String(load.depth),
      JOBS: String(load.jobs),
      FSYNC: String(load.fsync),
      SIZE: String(load.size),
      RUNTIME: `${Math.round(load.seconds * 1000)}ms`,
    })
    return parseFio(await readFile(output, 'utf8'))
  } finally {
    await rm(output, { force: true })
  }
}

export function fixture(name: string): string {
  return join(FIXTURES, `${name}.fio`)
}

interface Direction {
  readonly total_ios: number
  readonly io_bytes: number
  readonly iops: number
  readonly bw_bytes: number
  readonly clat_ns: { readonly bins?: Readonly<Record<string, number>> }
}

interface Job {
  readonly error: number
  readonly read: Direction
  readonly write: Direction
}

/** Pure: the output of fio for one group; what the nbd engine prints before the JSON is skipped. */
export function parseFio(text: string): Measured {
  const { jobs } = JSON.parse(text.slice(text.indexOf('{'))) as { jobs: readonly Job[] }
  const job = jobs[0]
  if (job === undefined || job.error !== 0) throw new Error(`fio failed with ${job?.error}`)
  const latencies = new Histogram()
  for (const { clat_ns } of [job.read, job.write]) {
    for (const [ns, count] of Object.entries(clat_ns.bins ?? {})) latencies.add(Number(ns), count)
  }
  const sum = (of: (direction: Direction) => number): number => of(job.read) + of(job.write)
  const requests = sum(({ total_ios }) => total_ios)
  if (requests === 0) throw new Error('fio measured nothing: not one request was answered')
  return {
    requests,
    bytes: sum(({ io_bytes }) => io_bytes),
    iops: sum(({ iops }) => iops),
    bytesPerSecond: sum(({ bw_bytes }) => bw_bytes),
    latencies,
  }
}

function escapeColons(path: string): string {
  return path.replaceAll(':', '\\:')
}
