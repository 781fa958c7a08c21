/** Time, chance and bytes on their way, all from one seed. */
import { Random } from '../support/random.ts'

/** What must never happen has happened. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

export class World {
  readonly random: Random
  /** Called before every event: the place to let something go wrong. */
  disturb: () => void = () => {}
  /** Called after every event. */
  check: () => void = () => {}
  #now = 0
  #queue: { at: number; order: number; run: () => void }[] = []
  #order = 0

  constructor(seed: number) {
    this.random = new Random(seed)
  }

  get now(): number {
    return this.#now
  }

  between(low: number, high: number): number {
    return low + (this.random.u32() / 2 ** 32) * (high - low)
  }

  after(ms: number, run: () => void): void {
    this.#queue.push({ at: this.#now + ms, order: this.#order++, run })
  }

  /** Runs what is due until `end`, the earliest first. */
  runUntil(end: number): void {
    for (;;) {
      this.#queue.sort((a, b) => a.at - b.at || a.order - b.order)
      const next = this.#queue[0]
      if (next === undefined || next.at > end) break
      this.#queue.shift()
      this.#now = next.at
      this.disturb()
      next.run()
      this.check()
    }
    this.#now = end
  }
}

/**
 * One direction of a pipe or a connection: bytes in order, cut and delayed; then perhaps an end.
 */
export class Pipe {
  readonly #world: World
  readonly #slowness: number
  #lastAt = 0
  #isOver = false
  #isEnded = false
  take: (bytes: Uint8Array) => void = () => {}
  ended: () => void = () => {}

  constructor(world: World, slowness: number) {
    this.#world = world
    this.#slowness = slowness
  }

  write(bytes: Uint8Array): void {
    if (this.#isEnded) return
    const cut = this.#world.random.chance(0.5) ? this.#world.random.below(bytes.byteLength + 1) : 0
    for (const piece of [bytes.slice(0, cut), bytes.slice(cut)]) {
      if (piece.byteLength > 0) this.#deliver(() => this.take(piece))
    }
  }

  /** What was written before still arrives. */
  end(): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.#deliver(() => {
      this.#isOver = true
      this.ended()
    })
  }

  /**
   * Breaks: what is on its way arrives, some of it, or not; sooner or later the reader sees the
   * end.
   */
  break(): void {
    this.#isEnded = true
    if (this.#isOver) return
    this.#world.after(this.#world.between(0, 40), () => {
      if (this.#isOver) return
      this.#isOver = true
      this.ended()
    })
  }

  #deliver(run: () => void): void {
    const at = Math.max(this.#lastAt, this.#world.now + this.#world.between(0, this.#slowness))
    this.#lastAt = at
    this.#world.after(at - this.#world.now, () => {
      if (!this.#isOver) run()
    })
  }
}
