/**
 * Goes over the dirty runs again and again and copies them, several at a time. It decides what to
 * copy next and how much at once; how a run is copied is the operation's business.
 *
 * Bounds: as many operations as it was given pieces of memory, each no longer than its memory, or
 * ZEROES_MAX where nothing but zeroes is to be sent. Guest requests come first: while there are
 * any, few and small operations are under way. Chunks that guest writes keep busy are passed over
 * and looked at again later.
 */
import assert from 'node:assert/strict'
import type { BlockDevice } from '../block/device.ts'
import { InFlight } from '../block/in-flight.ts'
import type { Clock, Timer } from '../io/clock.ts'
import type { CopierListener, CopierOptions } from './copier-options.ts'
import {
  CopyOperation,
  type CopyOperationOwner,
  type CopyOutcome,
  SLOW_ZEROES_MAX,
} from './copy-operation.ts'
import { BUSY_MS, Pace } from './pace.ts'
import { SourceMap } from './source-map.ts'
import type { Target } from './target.ts'
import { TokenBucket } from './token-bucket.ts'
import type { Tracking } from './tracking.ts'

/** Longest run of holes or zeroes in one operation (bytes). */
export const ZEROES_MAX = 256 * 1024 * 1024
/** How soon it looks again when all that is dirty was in use (milliseconds). */
export const RETRY_MS = 2

/** It never looks again sooner than this (milliseconds). */
const DELAY_MS_MIN = 0.1

export class Copier implements CopyOperationOwner {
  readonly source: BlockDevice
  readonly tracking: Tracking
  readonly #clock: Clock
  readonly #listener: CopierListener
  readonly #operations: readonly CopyOperation[]
  readonly #free: CopyOperation[]
  readonly #lengthMax: number
  readonly #bucket = new TokenBucket()
  readonly #map: SourceMap
  readonly #pace: Pace
  readonly #timer: Timer
  #target: Target | undefined
  #cursor = 0
  #pass = 1
  #isHurried = false
  #isPumping = false
  #isPumpAgain = false
  #pausedUntil = -Infinity
  #zeroesMax = ZEROES_MAX
  readonly #inFlight = new InFlight()
  #copiedBytes = 0
  #zeroedBytes = 0
  #skippedBytes = 0

  constructor({ source, tracking, clock, guest, memory, listener }: CopierOptions) {
    this.source = source
    this.tracking = tracking
    this.#clock = clock
    this.#listener = listener
    this.#lengthMax = memory[0]!.bytes.length
    const { granularity } = tracking.bitmap
    assert(memory.length < tracking.claims.slots, 'copier: more operations than claims')
    assert(this.#lengthMax % granularity === 0, 'copier: memory is not a multiple of granularity')
    this.#operations = memory.map((piece, slot) => new CopyOperation(this, slot, piece))
    this.#free = [...this.#operations]
    this.#map = new SourceMap(source, tracking.bitmap, () => this.#pump())
    const room = { operationsMax: memory.length, lengthMax: this.#lengthMax }
    this.#pace = new Pace({ clock, guest, tracking }, room)
    this.#timer = clock.createTimer(() => this.#pump())
  }

  get isRunning(): boolean {
    return this.#target !== undefined
  }

  /** Operations under way. */
  get operationsCount(): number {
    return this.#inFlight.count
  }

  /** Resolves when no operation is under way, and the memory free. */
  idle(): Promise<void> {
    return this.#inFlight.idle()
  }

  /** How often it has begun at the start of the disk with something to do. */
  get pass(): number {
    return this.#pass
  }

  get copiedBytes(): number {
    return this.#copiedBytes
  }

  get zeroedBytes(): number {
    return this.#zeroedBytes
  }

  get skippedBytes(): number {
    return this.#skippedBytes
  }

  /**
   * Bytes per second of data, 0 for no limit. Holes cost nothing, zeroes where the target is not
   * fast at them do.
   */
  get bandwidth(): number {
    return this.#bucket.rate
  }

  set bandwidth(bytesPerSecond: number) {
    this.#bucket.setRate(bytesPerSecond, this.#clock.now())
    this.#pump()
  }

  /**
   * While it is set, neither guest requests nor the bandwidth limit hold it back: the clients wait.
   */
  set isHurried(isHurried: boolean) {
    this.#isHurried = isHurried
    this.#pump()
  }

  start(target: Target): void {
    this.#target = target
    this.#zeroesMax = ZEROES_MAX
    this.#pausedUntil = -Infinity
    this.#pace.begin()
    this.#pump()
  }

  /** Begins nothing more; `copierIdle` follows when something was under way. */
  stop(): void {
    this.#target = undefined
    this.#timer.disarm()
    for (const operation of this.#operations) operation.cancel()
  }

  /** Begins nothing for a while. */
  backOff(delayMs: number): void {
    this.#pausedUntil = this.#clock.now() + delayMs
  }

  /** Looks for something to do; to be called when bits may have been set while it had nothing. */
  wake(): void {
    if (this.#free.length > 0) this.#pump()
  }

  spend(bytes: number): void {
    this.#bucket.spend(bytes, this.#clock.now())
  }

  settled(operation: CopyOperation, outcome: CopyOutcome, error: number): void {
    this.#free.push(operation)
    this.#inFlight.leave()
    this.#account(operation, outcome, error)
    if (outcome !== 'nothing') this.#pump()
    else if (!this.#isPumping) this.#arm(RETRY_MS)
    if (this.operationsCount === 0) this.#listener.copierIdle()
  }

  #account(operation: CopyOperation, outcome: CopyOutcome, error: number): void {
    const { target, offset, length } = operation
    switch (outcome) {
      case 'copied':
        this.#copiedBytes += length
        this.#pace.tookSince(operation.startedAt)
        this.#listener.copied()
        break
      case 'zeroed':
        this.#zeroedBytes += length
        this.#listener.copied()
        break
      case 'skipped':
        this.#skippedBytes += length
        this.#zeroesMax = ZEROES_MAX
        this.#listener.copied()
        break
      case 'refused':
        this.#zeroesMax = this.#lengthMax
        this.#map.forget()
        break
      case 'nothing':
        break
      default:
        this.#listener.copyFailed(
          outcome === 'source-failed' ? 'source' : 'target',
          target,
          error,
          offset,
        )
    }
  }

  /**
   * Begins operations as long as it may. Devices may complete at once, so it can be called from
   * inside itself.
   */
  #pump(): void {
    this.#isPumpAgain = true
    if (this.#isPumping) return
    this.#isPumping = true
    while (this.#isPumpAgain) {
      this.#isPumpAgain = false
      this.#fill()
    }
    this.#isPumping = false
  }

  #fill(): void {
    let hasWrapped = false
    while (this.#mayBegin()) {
      const { bitmap } = this.tracking
      const first = bitmap.nextDirty(this.#cursor)
      if (first < 0) {
        // One look from the start; what it does not get to now is in use.
        if (hasWrapped || bitmap.dirtyCount === 0) {
          if (bitmap.dirtyCount > 0) this.#arm(RETRY_MS)
          return
        }
        hasWrapped = true
        this.#cursor = 0
        this.#pass++
        this.#map.nextPass()
        continue
      }
      this.#cursor = first
      if (!this.#map.covers(first)) return
      this.#begin(first)
    }
  }

  #begin(first: number): void {
    const { bitmap } = this.tracking
    const isZeroes = this.#map.isZero(first)
    const lengthMax = isZeroes ? this.#zeroLengthMax() : this.#dataLengthMax()
    const limit = Math.min(
      bitmap.chunks,
      first + Math.max(1, Math.floor(lengthMax / bitmap.granularity)),
    )
    const end = this.#map.runEnd(first, bitmap.runEnd(first, limit))
    this.#cursor = end
    this.#inFlight.enter()
    const operation = this.#free.pop()!
    operation.startedAt = this.#clock.now()
    operation.start(this.#target!, first, end, isZeroes)
  }

  #mayBegin(): boolean {
    if (this.#target === undefined || this.#free.length === 0) return false
    const { log } = this.tracking
    if (log.count + this.operationsCount >= log.capacity) {
      // What cannot be logged would have to be copied again. The job flushes the target soon.
      this.#arm(RETRY_MS)
      return false
    }
    const now = this.#clock.now()
    if (now < this.#pausedUntil) {
      this.#arm(this.#pausedUntil - now)
      return false
    }
    if (this.#isHurried) return true
    if (this.operationsCount >= this.#pace.operationsMax) {
      this.#arm(BUSY_MS)
      return false
    }
    const delayMs = this.#bucket.delayMs(now)
    if (delayMs > 0) this.#arm(delayMs)
    return delayMs === 0
  }

  #dataLengthMax(): number {
    return this.#isHurried ? this.#lengthMax : this.#pace.lengthMax
  }

  #zeroLengthMax(): number {
    const { info, canFastZero } = this.#target!
    if (!info.canWriteZeroes) return this.#lengthMax
    return canFastZero || info.canBlockStatus ? this.#zeroesMax : SLOW_ZEROES_MAX
  }

  #arm(delayMs: number): void {
    if (this.#target !== undefined) this.#timer.arm(Math.max(delayMs, DELAY_MS_MIN))
  }
}
