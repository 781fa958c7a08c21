/**
 * What outlives the mirror's process: dirty bits, claims and flush log. The classes are the real
 * ones; every call that stores something may be the one before which the process is killed, and a
 * process that is dead stores nothing.
 */
import { bitmapBytes, DirtyBitmap } from '../../src/mirror/bitmap.ts'
import { recover } from '../../src/mirror/bitmap-file.ts'
import { CLAIM_BYTES, Claims } from '../../src/mirror/claims.ts'
import { FlushLog, LOG_ENTRY_BYTES, LOG_HEADER_BYTES } from '../../src/mirror/flush-log.ts'
import type { TrackingParts } from '../../src/mirror/tracking.ts'
import type { World } from './world.ts'

/** Bytes of a chunk: two sectors. */
export const GRANULARITY = 2

/** Lives and dies with a process. */
export interface Life {
  isDead: boolean
}

export class Storage {
  readonly size: number
  readonly chunks: number
  #isThere = false
  readonly #bits: Uint8Array
  readonly #claims: Uint8Array
  readonly #log: Uint8Array

  constructor(size: number, slots: number, logEntries: number) {
    this.size = size
    this.chunks = Math.ceil(size / GRANULARITY)
    this.#bits = new Uint8Array(bitmapBytes(size, GRANULARITY))
    this.#claims = new Uint8Array((slots + 1) * CLAIM_BYTES)
    this.#log = new Uint8Array(LOG_HEADER_BYTES + logEntries * LOG_ENTRY_BYTES)
  }

  /** False before the first mirror. */
  get isThere(): boolean {
    return this.#isThere
  }

  /** For a new mirror: everything is dirty. */
  reset(): void {
    this.#isThere = true
    this.#bits.fill(0xff)
    this.#claims.fill(0)
    this.#log.fill(0)
  }

  /** As a process opens it. */
  open(world: World, life: Life): TrackingParts {
    const parts = {
      bitmap: new MortalBitmap(this.#bits, this.size, world, life),
      claims: new MortalClaims(this.#claims, world, life),
      log: new MortalLog(this.#log, world, life),
    }
    recover(parts)
    return parts
  }

  /** Chunks whose bit is clear and for which no claim stands, as bits of a number. */
  cleanMask(): number {
    const all = 2 ** this.chunks - 1
    let dirty = new Uint32Array(this.#bits.buffer)[0]!
    const claims = new Uint32Array(this.#claims.buffer)
    for (let at = 0; at < claims.length; at += 2) dirty |= runMask(claims[at]!, claims[at + 1]!)
    return all & ~dirty
  }

  /** Chunks that the target may not have flushed. */
  unflushedMask(): number {
    const words = new Uint32Array(this.#log.buffer)
    const capacity = (words.length - 2) / 2
    let mask = 0
    for (let index = words[1]!; index !== words[0]!; index++) {
      const at = 2 + (index % capacity) * 2
      mask |= runMask(words[at]!, words[at + 1]!)
    }
    return mask
  }
}

function runMask(first: number, count: number): number {
  return count === 0 ? 0 : (2 ** count - 1) << first
}

export class MortalBitmap extends DirtyBitmap {
  readonly #world: World
  readonly #life: Life
  /** For wrong rules: stores are left out while it is set. */
  isMuted = false

  constructor(storage: Uint8Array, size: number, world: World, life: Life) {
    super({ storage, size, granularity: GRANULARITY })
    this.#world = world
    this.#life = life
  }

  override set(first: number, end: number): number {
    if (this.#life.isDead || this.isMuted) return 0
    this.#world.store()
    return super.set(first, end)
  }

  override clear(first: number, end: number): number {
    if (this.#life.isDead || this.isMuted) return 0
    this.#world.store()
    return super.clear(first, end)
  }
}

export class MortalClaims extends Claims {
  readonly #world: World
  readonly #life: Life

  constructor(storage: Uint8Array, world: World, life: Life) {
    super(storage)
    this.#world = world
    this.#life = life
  }

  override record(slot: number, first: number, end: number): void {
    if (this.#life.isDead) return
    this.#world.store()
    super.record(slot, first, end)
  }

  override erase(slot: number): void {
    if (this.#life.isDead) return
    this.#world.store()
    super.erase(slot)
  }
}

export class MortalLog extends FlushLog {
  readonly #world: World
  readonly #life: Life

  constructor(storage: Uint8Array, world: World, life: Life) {
    super(storage)
    this.#world = world
    this.#life = life
  }

  override append(first: number, end: number): boolean {
    if (this.#life.isDead) return false
    this.#world.store()
    return super.append(first, end)
  }

  override flushed(snapshot: number): void {
    if (this.#life.isDead) return
    this.#world.store()
    super.flushed(snapshot)
  }

  override drain(run: (first: number, end: number) => void): void {
    if (!this.#life.isDead) super.drain(run)
  }
}
