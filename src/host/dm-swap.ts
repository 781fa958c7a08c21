/**
 * The hot swap: another table under a device that is in use, and back. Load and resume, with no
 * suspend of its own, because the kernel suspends, swaps and resumes inside that one resume.
 * Checked before anything is touched: the same length, since blkback tells the guest of a new size,
 * and the same logical block size, since the guest never asks again. One swap of a device at a
 * time: the caller sees to that.
 */
import { readFileSync, statSync } from 'node:fs'
import type { DeviceMapper, SuspendOptions } from './device-mapper.ts'
import { DeviceMapperError } from './dm-error.ts'
import { devicesOf, errorTable, type Table, tableLength } from './dm-table.ts'

/** A swap that happened. */
export interface Swap {
  readonly device: string
  /** What was there before. */
  readonly previous: Table
  /** Swaps back. Throws what `swap` throws. */
  undo(options?: SuspendOptions): Promise<void>
}

/**
 * Logical block size (bytes) of `major:minor` or of a path; a parameter so that tests can answer.
 */
export type BlockSizeOf = (device: string) => number

/**
 * Swaps the table of `name`. Throws DeviceMapperError: `refused` and nothing was done; any other
 * and the previous table is live again, unless `cleanUpErrors` says otherwise or the code is
 * `timeout`.
 */
export async function swap(
  mapper: DeviceMapper,
  name: string,
  table: Table,
  options: SuspendOptions & { readonly blockSizeOf?: BlockSizeOf } = {},
): Promise<Swap> {
  const { blockSizeOf = logicalBlockSize } = options
  const device = await mapper.status(name)
  const previous = await mapper.table(name)
  checkLength(name, previous, table)
  checkBlockSize(name, blockSizeOf(`${device.major}:${device.minor}`), table, blockSizeOf)
  await replace(mapper, name, table, options)
  return {
    device: name,
    previous,
    undo: async (undoOptions = {}) => {
      await swap(mapper, name, previous, { ...undoOptions, blockSizeOf })
    },
  }
}

/**
 * From now on every bio fails, parked ones too. What is in flight below is waited for first, unless
 * the device was suspended with it; on a device that hands out a dying proxy's I/O that is the
 * point.
 */
export async function fence(
  mapper: DeviceMapper,
  name: string,
  options: SuspendOptions = {},
): Promise<void> {
  const length = tableLength(await mapper.table(name))
  await replace(mapper, name, errorTable(length), options)
}

async function replace(
  mapper: DeviceMapper,
  name: string,
  table: Table,
  options: SuspendOptions,
): Promise<void> {
  const { isSuspended } = await mapper.status(name)
  await mapper.load(name, table)
  try {
    await mapper.resume(name, options)
  } catch (error) {
    // Held, not refused: to resume once more would be held as well, and the table may go live yet.
    if (error instanceof DeviceMapperError && error.code !== 'timeout') {
      await putBack(mapper, name, isSuspended, error)
    }
    throw error
  }
}

/** The kernel leaves a device suspended when its new table cannot go live. */
async function putBack(
  mapper: DeviceMapper,
  name: string,
  wasSuspended: boolean,
  error: DeviceMapperError,
): Promise<void> {
  try {
    await mapper.clear(name)
    if (!wasSuspended) await mapper.resume(name)
  } catch (second) {
    error.cleanUpErrors.push(second)
  }
}

function checkLength(name: string, previous: Table, table: Table): void {
  let lengths: readonly [number, number]
  try {
    lengths = [tableLength(previous), tableLength(table)]
  } catch (error) {
    throw new DeviceMapperError('swap', name, 'refused', (error as Error).message, error)
  }
  const [old, next] = lengths
  if (old === next) return
  const problem = `the new table has ${next} sectors, the device has ${old}; they must be equal`
  throw new DeviceMapperError('swap', name, 'refused', problem)
}

function checkBlockSize(name: string, size: number, table: Table, sizeOf: BlockSizeOf): void {
  for (const below of devicesOf(table)) {
    const found = sizeOf(below)
    if (found === size) continue
    const problem = `${below} has logical blocks of ${found} bytes, the device has ${size}`
    throw new DeviceMapperError('swap', name, 'refused', `${problem}; they must be equal`)
  }
}

/** Reads it from sysfs; throws DeviceMapperError `refused` if there is no such device. */
export function logicalBlockSize(device: string): number {
  const numbers = /^\d+:\d+$/.test(device) ? device : numbersOfNode(device)
  const folder = `/sys/dev/block/${numbers}`
  // A partition has its queue in the folder of its disk.
  for (const queue of [`${folder}/queue`, `${folder}/../queue`]) {
    try {
      return Number(readFileSync(`${queue}/logical_block_size`, 'utf8'))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  throw new DeviceMapperError('swap', device, 'refused', 'no such block device')
}

/** `major:minor` of the block device behind a path. */
export function numbersOfNode(path: string): string {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false })
  if (stats === undefined || !stats.isBlockDevice()) {
    throw new DeviceMapperError('swap', path, 'refused', 'no such block device')
  }
  const { rdev } = stats
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & 0xfffff000n)
  return `${major}:${(rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n)}`
}
