/**
 * What the source says is data and what is holes or zeroes, around the place where the copier is:
 * one block status answer, asked for anew when the copier leaves it. It is read without a lock and
 * may be stale, so it decides only how a run is copied; that a run is zero is asked again under the
 * lock, and data is looked at when it is read.
 */
import { NBD_CMD_BLOCK_STATUS, NBD_STATE_ZERO } from 'nbd-client-ts'
import type { BlockDevice } from '../block/device.ts'
import { Extents } from '../block/extents.ts'
import { type Completion, Request } from '../block/request.ts'
import type { DirtyBitmap } from './bitmap.ts'

/**
 * After the first pass only runs as long as this are asked about (bytes): a file system may have to
 * look at all of a file to find a hole, and zeroes are seen when they are read.
 */
export const MAP_WORTH = 32 * 1024 * 1024
/** Bytes that one block status asks about. */
export const MAP_LENGTH_MAX = 1024 * 1024 * 1024

export class SourceMap implements Completion {
  readonly #source: BlockDevice
  readonly #bitmap: DirtyBitmap
  readonly #granularity: number
  readonly #answered: () => void
  readonly #request = new Request()
  readonly #extents = new Extents()
  #isSubmitting = false
  #isFirstPass = true
  #start = 0
  #end = 0
  /** The extent looked at last, and its first byte. */
  #index = 0
  #at = 0

  /** `answered` is called when a map comes after `covers` has returned without it. */
  constructor(source: BlockDevice, bitmap: DirtyBitmap, answered: () => void) {
    this.#source = source
    this.#bitmap = bitmap
    this.#granularity = bitmap.granularity
    this.#answered = answered
    this.#request.extents = this.#extents
  }

  get isAsking(): boolean {
    return this.#request.isUnderWay
  }

  /**
   * True if the map knows about the chunk; otherwise it has been asked for, and the answer may be
   * there already.
   */
  covers(chunk: number): boolean {
    if (this.#knows(chunk)) return true
    if (this.isAsking) return false
    this.#start = chunk * this.#granularity
    this.#end = this.#start
    const { info } = this.#source
    const length = Math.min(MAP_LENGTH_MAX, info.size - this.#start)
    const worth = Math.ceil(Math.min(MAP_WORTH, length) / this.#granularity)
    const end = this.#isFirstPass ? chunk + worth : this.#bitmap.runEnd(chunk, chunk + worth)
    if (end < chunk + worth) {
      this.#assumeData((end - chunk) * this.#granularity)
      return true
    }
    if (!info.canBlockStatus) {
      this.#assumeData(length)
      return true
    }
    this.#extents.clear()
    this.#request.set(NBD_CMD_BLOCK_STATUS, 0, this.#start, length)
    this.#request.push(this)
    this.#isSubmitting = true
    this.#source.submit(this.#request)
    this.#isSubmitting = false
    return this.#knows(chunk)
  }

  nextPass(): void {
    this.#isFirstPass = false
    this.forget()
  }

  /** Forgets what it knows: it was wrong. */
  forget(): void {
    if (!this.isAsking) this.#end = this.#start
  }

  /** True if all of the chunk is a hole or zero. The chunk is covered. */
  isZero(chunk: number): boolean {
    return this.#zeroEnd(chunk) > chunk
  }

  /**
   * The end of the run from `first` on that is zero as `first` is, or is not as `first` is not; at
   * most `limit`.
   */
  runEnd(first: number, limit: number): number {
    const zeroEnd = this.#zeroEnd(first)
    if (zeroEnd > first) return Math.min(limit, zeroEnd)
    let end = first
    while (end < limit && this.#knows(end) && this.#zeroEnd(end) <= end) {
      // The rest of this extent cannot hold a chunk of zeroes, unless it is zero and just not
      // aligned.
      const extentEnd = this.#at + this.#extents.length(this.#index)
      end = this.#isZeroExtent()
        ? end + 1
        : Math.max(end + 1, Math.ceil(extentEnd / this.#granularity))
    }
    return Math.min(limit, end)
  }

  completed({ error, length }: Request): void {
    if (error !== 0 || this.#extents.count === 0) this.#assumeData(length)
    else this.#open()
    if (!this.#isSubmitting) this.#answered()
  }

  #assumeData(length: number): void {
    this.#extents.clear()
    this.#extents.add(length, 0)
    this.#open()
  }

  #open(): void {
    this.#index = 0
    this.#at = this.#start
    this.#end = this.#start
    for (let index = 0; index < this.#extents.count; index++)
      this.#end += this.#extents.length(index)
  }

  #knows(chunk: number): boolean {
    const offset = chunk * this.#granularity
    return !this.isAsking && offset >= this.#start && offset < this.#end
  }

  /**
   * The end of the whole chunks from `chunk` on that lie in one extent of zeroes; `chunk` itself if
   * it does not.
   */
  #zeroEnd(chunk: number): number {
    const offset = chunk * this.#granularity
    if (offset < this.#at) {
      this.#index = 0
      this.#at = this.#start
    }
    while (this.#at + this.#extents.length(this.#index) <= offset) {
      this.#at += this.#extents.length(this.#index++)
    }
    if (!this.#isZeroExtent()) return chunk
    const end = this.#at + this.#extents.length(this.#index)
    const isLast = end >= this.#source.info.size
    return Math.max(
      chunk,
      isLast ? Math.ceil(end / this.#granularity) : Math.floor(end / this.#granularity),
    )
  }

  #isZeroExtent(): boolean {
    return (this.#extents.flags(this.#index) & NBD_STATE_ZERO) !== 0
  }
}
