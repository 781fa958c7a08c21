/**
 * Invariant: a chunk that is clean and unclaimed is equal on both sides, and nothing in flight can
 * change that, so it holds if the process is killed now. While a chunk is in the flush log the
 * target may lose it together with the connection.
 */
import type { SimulatedDisk } from './disk.ts'
import type { Platter } from './platter.ts'
import { GRANULARITY, type Storage } from './storage.ts'
import type { TargetHost } from './target-host.ts'
import { Violation } from './world.ts'

export interface Sides {
  readonly storage: Storage
  readonly source: Platter
  readonly sourceDisk: SimulatedDisk
  readonly target: TargetHost
}

/** Throws Violation. */
export function checkInvariant(sides: Sides): void {
  const clean = sides.storage.cleanMask()
  if (clean === 0) return
  const unflushed = sides.storage.unflushedMask()
  for (let chunk = 0; chunk < sides.storage.chunks; chunk++) {
    const bit = 1 << chunk
    if ((clean & bit) !== 0) checkChunk(sides, chunk, (unflushed & bit) !== 0)
  }
}

/** After a switchover: what the target keeps through a power failure is what the guest had. */
export function checkCompleted({ storage, source, sourceDisk, target }: Sides): void {
  if (sourceDisk.isWriting(0, storage.size)) throw new Violation('still writing')
  for (let at = 0; at < storage.size; at++) {
    if (source.bytes[at] !== target.platter.durable[at]) {
      throw new Violation(`disks differ at ${at} after completion`)
    }
  }
}

function checkChunk(sides: Sides, chunk: number, isUnflushed: boolean): void {
  const { storage, source, sourceDisk, target } = sides
  const offset = chunk * GRANULARITY
  const end = Math.min(storage.size, offset + GRANULARITY)
  const { bytes, durable } = target.platter
  for (let at = offset; at < end; at++) {
    if ((!isUnflushed || target.isConnected) && source.bytes[at] !== bytes[at]) {
      throw new Violation(`chunk ${chunk} is clean and differs`)
    }
    if (!isUnflushed && source.bytes[at] !== durable[at]) {
      throw new Violation(`chunk ${chunk} is clean, flushed and differs`)
    }
  }
  if (sourceDisk.isWriting(offset, end)) {
    throw new Violation(`chunk ${chunk} is clean under a write of the guest`)
  }
  if (target.isWriting(offset, end)) {
    throw new Violation(`chunk ${chunk} is clean under a write to the target`)
  }
}
