/**
 * Compares two devices that nobody writes to, slice by slice, byte by byte. Slices that both report
 * as zero are not read. Several slices are under way at once, two pieces of memory for each;
 * nothing else is allocated per slice but promises.
 */
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_READ, NBD_STATE_ZERO } from 'nbd-client-ts'
import { BlockError } from '../block/block-error.ts'
import type { BlockDevice } from '../block/device.ts'
import { Extents } from '../block/extents.ts'
import { Request } from '../block/request.ts'
import type { Memory } from '../io/memory.ts'

export interface VerifyOptions {
  readonly source: BlockDevice
  readonly target: BlockDevice
  /** Bytes to compare from the start. */
  readonly size: number
  /** At least two pieces, all of one length. */
  readonly memory: readonly Memory[]
  /** Looked at between slices: true ends the comparison early. */
  readonly isAborted: () => boolean
  /** Called after each slice. */
  readonly compared: () => void
}

/**
 * The first offset at which they differ, or -1. Rejects with BlockError when one cannot be read.
 * When it settles the memory is free.
 */
export async function firstDifference(options: VerifyOptions): Promise<number> {
  const { size, memory, isAborted, compared } = options
  const sliceLength = memory[0]!.bytes.length
  let next = 0
  let difference = -1
  let failure: unknown
  const compareSlices = async (sourceMemory: Memory, targetMemory: Memory): Promise<void> => {
    const slice = new Slice(options, sourceMemory, targetMemory)
    // Slices begin in order, so what is under way when one differs still decides which offset is
    // the first.
    while (next < size && difference < 0 && failure === undefined && !isAborted()) {
      const offset = next
      next += sliceLength
      try {
        const at = await slice.compare(offset, Math.min(sliceLength, size - offset))
        compared()
        if (at >= 0) difference = difference < 0 ? at : Math.min(difference, at)
      } catch (error) {
        failure ??= error
      }
    }
  }
  const workers: Promise<void>[] = []
  for (let i = 0; i + 1 < memory.length; i += 2) {
    workers.push(compareSlices(memory[i]!, memory[i + 1]!))
  }
  await Promise.all(workers)
  if (failure !== undefined) throw failure
  return difference
}

/** One slice at a time of both devices. */
class Slice {
  readonly #source: BlockDevice
  readonly #target: BlockDevice
  readonly #sourceMemory: Memory
  readonly #targetMemory: Memory

  constructor({ source, target }: VerifyOptions, sourceMemory: Memory, targetMemory: Memory) {
    this.#source = source
    this.#target = target
    this.#sourceMemory = sourceMemory
    this.#targetMemory = targetMemory
  }

  /** The first offset that differs, or -1. */
  async compare(offset: number, length: number): Promise<number> {
    const [isSourceZero, isTargetZero] = await Promise.all([
      isZero(this.#source, offset, length),
      isZero(this.#target, offset, length),
    ])
    if (isSourceZero && isTargetZero) return -1
    const [sourceError, targetError] = await Promise.all([
      read(this.#source, offset, length, this.#sourceMemory),
      read(this.#target, offset, length, this.#targetMemory),
    ])
    if (sourceError !== 0) throw new BlockError(sourceError, 'verify source', offset, length)
    if (targetError !== 0) throw new BlockError(targetError, 'verify target', offset, length)
    const a = Buffer.from(
      this.#sourceMemory.bytes.buffer,
      this.#sourceMemory.bytes.byteOffset,
      length,
    )
    const b = Buffer.from(
      this.#targetMemory.bytes.buffer,
      this.#targetMemory.bytes.byteOffset,
      length,
    )
    if (a.equals(b)) return -1
    let at = 0
    while (a[at] === b[at]) at++
    return offset + at
  }
}

async function isZero(device: BlockDevice, offset: number, length: number): Promise<boolean> {
  if (!device.info.canBlockStatus) return false
  const extents = new Extents()
  const request = new Request()
  request.extents = extents
  const aligned = padded(device, length)
  if ((await perform(device, request, NBD_CMD_BLOCK_STATUS, offset, aligned)) !== 0) return false
  let covered = 0
  for (let i = 0; i < extents.count && (extents.flags(i) & NBD_STATE_ZERO) !== 0; i++) {
    covered += extents.length(i)
  }
  return covered >= length
}

function read(
  device: BlockDevice,
  offset: number,
  length: number,
  memory: Memory,
): Promise<number> {
  const request = new Request()
  request.memory = memory
  return perform(device, request, NBD_CMD_READ, offset, padded(device, length))
}

function padded(device: BlockDevice, length: number): number {
  return Math.ceil(length / device.info.blockSize) * device.info.blockSize
}

function perform(
  device: BlockDevice,
  request: Request,
  command: number,
  offset: number,
  length: number,
): Promise<number> {
  return new Promise(resolve => {
    request.set(command, 0, offset, length)
    request.push({ completed: ({ error }) => resolve(error) })
    device.submit(request)
  })
}
