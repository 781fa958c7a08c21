/**
 * A guest write as the mirror's rules see it: where it is, which rule it follows, and what becomes
 * of its chunks. Part of a pooled record; `tracking.ts` says what the fields mean when.
 */

/**
 * The part of a guest write that the rules need; the owner sets it and keeps it while the write is
 * in flight.
 */
export class TrackedWrite {
  /** Bytes, `end` not included. */
  offset = 0
  end = 0
  /** Chunks touched, `endChunk` not included. */
  firstChunk = 0
  endChunk = 0
  /** Goes to both sides at once under a lock, or to the source alone. */
  isBlocking = false
  /** Its chunks stay dirty whatever comes of it. */
  isTainted = false
  /** Whether the first and the last chunk have to stay dirty if they are covered in part. */
  isHeadDirty = false
  isTailDirty = false
  /** Bits that it has set and will clear again; whether those at the ends are among them. */
  transientCount = 0
  isHeadTransient = false
  isTailTransient = false

  setRange(offset: number, length: number, granularity: number): void {
    this.offset = offset
    this.end = offset + length
    this.firstChunk = Math.floor(offset / granularity)
    this.endChunk = Math.ceil(this.end / granularity)
  }

  touches(first: number, end: number): boolean {
    return this.firstChunk < end && first < this.endChunk
  }

  staysDirty(chunk: number): boolean {
    return (
      this.isTainted ||
      (chunk === this.firstChunk && this.isHeadDirty) ||
      (chunk === this.endChunk - 1 && this.isTailDirty)
    )
  }
}
