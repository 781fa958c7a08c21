/**
 * The mirror's rules: what each write and each copy does to the dirty bits, and when. Everything
 * that may set or clear a bit is here.
 *
 * Invariant: a chunk that is clean and has nothing in flight is identical on source and target. It
 * also holds after a crash: a bit is never clear while a write which could make the sides differ is
 * in flight, unless a claim or the flush log stands for it. Every mistake falls on the side "copied
 * twice".
 *
 * Writes and copies under way are known here as records of their owners'; the set is as large as
 * the requests in flight and is scanned. Runs on one thread.
 */
import { InFlight } from '../block/in-flight.ts'
import type { DirtyBitmap } from './bitmap.ts'
import type { Claims } from './claims.ts'
import type { FlushLog } from './flush-log.ts'
import { RangeLock } from './range-lock.ts'
import type { TrackedWrite } from './tracked-write.ts'

export interface TrackingParts {
  readonly bitmap: DirtyBitmap
  readonly claims: Claims
  readonly log: FlushLog
}

export class Tracking {
  readonly bitmap: DirtyBitmap
  readonly claims: Claims
  readonly log: FlushLog
  readonly lock: RangeLock = new RangeLock()
  /**
   * Guest requests that follow these rules, waiting ones too; left when they have let go of
   * everything.
   */
  readonly requests: InFlight = new InFlight()
  readonly #writes: TrackedWrite[] = []
  #backgroundCount = 0
  #transientCount = 0
  #claimedCount = 0
  #dirtiedCount = 0
  #lossCount = 0
  /** By slot: `#lossCount` when the run was taken. */
  readonly #lossCountAtTake: number[] = []

  constructor({ bitmap, claims, log }: TrackingParts) {
    this.bitmap = bitmap
    this.claims = claims
    this.log = log
  }

  /** Writes in flight that follow the background rule. */
  get backgroundCount(): number {
    return this.#backgroundCount
  }

  /** Writes in flight. */
  get writesCount(): number {
    return this.#writes.length
  }

  /**
   * Chunks that still have to be copied or are being copied; not those which a blocking write is
   * about to make clean.
   */
  get remainingCount(): number {
    return this.bitmap.dirtyCount - this.#transientCount + this.#claimedCount
  }

  /** Clean chunks that guest writes have made dirty, ever. */
  get dirtiedCount(): number {
    return this.#dirtiedCount
  }

  /** Nothing differs, and nothing under way can make it differ. */
  get isSynced(): boolean {
    return this.remainingCount === 0 && this.#backgroundCount === 0
  }

  /** Before a write goes to the source alone. */
  startBackground(write: TrackedWrite): void {
    write.isBlocking = false
    write.isTainted = true
    write.transientCount = 0
    this.taint(write.firstChunk, write.endChunk)
    this.#writes.push(write)
    this.#backgroundCount++
    this.#dirtiedCount += this.bitmap.set(write.firstChunk, write.endChunk)
  }

  /** When it has settled, success or failure; before the guest hears of it. */
  settleBackground(write: TrackedWrite): void {
    this.#remove(write)
    this.#backgroundCount--
    this.markDirty(write.firstChunk, write.endChunk)
  }

  /** Before a write whose range is locked goes to both sides. */
  startBlocking(write: TrackedWrite): void {
    write.isBlocking = true
    this.#inherit(write)
    this.#writes.push(write)
    write.isHeadTransient = !this.bitmap.isDirty(write.firstChunk)
    write.isTailTransient = !this.bitmap.isDirty(write.endChunk - 1)
    write.transientCount = this.bitmap.set(write.firstChunk, write.endChunk)
    this.#transientCount += write.transientCount
    if (write.isTainted) this.#taintOne(write)
  }

  /** The guest is answered from the source and the target's answer is awaited no longer. */
  stall(write: TrackedWrite): void {
    this.#taintOne(write)
  }

  /** When both sides have settled; `isMirrored` if both succeeded. Before the lock is released. */
  settleBlocking(write: TrackedWrite, isMirrored: boolean): void {
    this.#remove(write)
    const { firstChunk, endChunk } = write
    if (isMirrored && !write.isTainted && this.log.append(firstChunk, endChunk)) {
      this.#clean(write)
    } else {
      this.#taintOne(write)
      this.markDirty(firstChunk, endChunk)
    }
  }

  /**
   * Takes a run of dirty chunks whose range is locked: claims it, then clears its bits; only after
   * that may the source be read. It is cut short in front of a guest write in flight. Returns the
   * end of what was taken.
   */
  takeRun(slot: number, first: number, limit: number): number {
    const end = this.quietEnd(first, limit)
    if (end === first) return first
    this.claims.record(slot, first, end)
    this.bitmap.clear(first, end)
    this.#claimedCount += end - first
    this.#lossCountAtTake[slot] = this.#lossCount
    return end
  }

  /**
   * The end of the chunks from `first` on that no guest write in flight touches. A bit cleared
   * under a background write would be missing if the process were killed before that write settles.
   */
  quietEnd(first: number, limit: number): number {
    let end = limit
    for (const write of this.#writes) {
      if (write.touches(first, end)) end = Math.max(first, write.firstChunk)
    }
    return end
  }

  /** When the copy of a run has settled; before the lock is released. */
  settleRun(slot: number, first: number, end: number, isCopied: boolean): void {
    const isKept = isCopied && this.#lossCountAtTake[slot] === this.#lossCount
    if (!isKept || !this.log.append(first, end)) this.markDirty(first, end)
    this.claims.erase(slot)
    this.#claimedCount -= end - first
  }

  /** The target may have lost what it has not flushed, and any part of what is in flight. */
  targetLost(): void {
    this.#lossCount++
    this.taint(0, this.bitmap.chunks)
    this.log.drain((first, end) => this.markDirty(first, end))
  }

  /**
   * The bits will not be kept from now on: whoever opens them finds everything dirty. A claim of
   * its own says so, which is one store; it comes before the first write that leaves no mark.
   */
  abandon(): void {
    this.claims.record(this.claims.slots - 1, 0, this.bitmap.chunks)
  }

  /** The chunks differ or may differ, whatever is in flight. */
  markDirty(first: number, end: number): void {
    this.taint(first, end)
    this.bitmap.set(first, end)
  }

  /** Writes in flight on these chunks will leave them dirty. */
  taint(first: number, end: number): void {
    for (let i = 0; i < this.#writes.length; i++) {
      const write = this.#writes[i]!
      if (!write.isTainted && write.touches(first, end)) this.#taintOne(write)
    }
  }

  #taintOne(write: TrackedWrite): void {
    write.isTainted = true
    this.#transientCount -= write.transientCount
    this.#dirtiedCount += write.transientCount
    write.transientCount = 0
    write.isHeadTransient = false
    write.isTailTransient = false
  }

  /** What the chunks at the ends were before any write now in flight set their bits. */
  #inherit(write: TrackedWrite): void {
    const head = write.firstChunk
    const tail = write.endChunk - 1
    let isHeadShared = false
    let isTailShared = false
    write.isTainted = false
    write.isHeadDirty = false
    write.isTailDirty = false
    for (let i = 0; i < this.#writes.length; i++) {
      const other = this.#writes[i]!
      if (!other.touches(write.firstChunk, write.endChunk)) continue
      if (!other.isBlocking) write.isTainted = true
      if (other.touches(head, head + 1)) {
        isHeadShared = true
        if (other.staysDirty(head)) write.isHeadDirty = true
      }
      if (other.touches(tail, tail + 1)) {
        isTailShared = true
        if (other.staysDirty(tail)) write.isTailDirty = true
      }
    }
    if (!isHeadShared) write.isHeadDirty = this.bitmap.isDirty(head)
    if (!isTailShared) write.isTailDirty = this.bitmap.isDirty(tail)
  }

  /** Chunks covered in full become clean, those at the ends return to what they were. */
  #clean(write: TrackedWrite): void {
    const { granularity, size, chunks } = this.bitmap
    const fullFirst = Math.ceil(write.offset / granularity)
    const fullEnd = write.end === size ? chunks : Math.floor(write.end / granularity)
    const last = write.endChunk - 1
    if (fullFirst < fullEnd) this.bitmap.clear(fullFirst, fullEnd)
    if (write.firstChunk < fullFirst) this.#restore(write, write.firstChunk)
    if (last >= fullEnd && !(last === write.firstChunk && last < fullFirst)) {
      this.#restore(write, last)
    }
    this.#transientCount -= write.transientCount
    write.transientCount = 0
  }

  #restore(write: TrackedWrite, chunk: number): void {
    if (write.staysDirty(chunk)) return
    for (let i = 0; i < this.#writes.length; i++) {
      const other = this.#writes[i]!
      if (!other.touches(chunk, chunk + 1)) continue
      this.#handOver(write, other, chunk)
      return
    }
    this.bitmap.clear(chunk, chunk + 1)
  }

  /**
   * `other` has inherited what the chunk was, and clears its bit or not; so that bit counts as set
   * by it.
   */
  #handOver(write: TrackedWrite, other: TrackedWrite, chunk: number): void {
    const isHead = chunk === write.firstChunk
    if (other.isTainted || !(isHead ? write.isHeadTransient : write.isTailTransient)) return
    write.transientCount--
    other.transientCount++
    if (chunk === other.firstChunk) other.isHeadTransient = true
    if (chunk === other.endChunk - 1) other.isTailTransient = true
  }

  #remove(write: TrackedWrite): void {
    const last = this.#writes.pop()!
    if (last !== write) this.#writes[this.#writes.indexOf(write)] = last
  }
}
