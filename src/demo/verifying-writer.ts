/**
 * A client that keeps writing numbered blocks at random places and remembers which writes were
 * acknowledged, so that any copy of the disk can be asked for all of them later. It can move from
 * one connection to another: writes whose answer never came are repeated there, as a guest repeats
 * them. At most one write of a block is under way, so each block has one right content.
 */
import { performance } from 'node:perf_hooks'
import { ConnectionError, NBD_FLAG_SEND_FLUSH, type NbdClient } from 'nbd-client-ts'
import { Latencies } from './latencies.ts'
import { BLOCK_SIZE, fillBlock, sequenceOf } from './numbered-block.ts'

export interface WriterOptions {
  /** Blocks that may be written. */
  readonly blockCount: number
  /** Where block `index` is on the disk, in bytes. */
  readonly offsetOf: (index: number) => number
  /** Writes per second; 0 for as many as `depth` allows. */
  readonly rate: number
  /** Writes under way at a time. */
  readonly depth: number
  /** A number from 0 to below 1. */
  readonly random: () => number
  /** A flush after so many writes. */
  readonly flushEvery?: number
}

/** A block without the content it must have. */
export interface LostBlock {
  readonly offset: number
  readonly acknowledged: number
  /** The write it is from; undefined if from none. */
  readonly found: number | undefined
}

interface Phase {
  readonly latencies: Latencies
  readonly blocks: Set<number>
}

const TICK_MS = 1
const FLUSH_EVERY = 64
const VERIFY_DEPTH = 32

export class VerifyingWriter {
  readonly #options: WriterOptions
  /** By block: the sequence number of its last acknowledged write; 0 for none. */
  readonly #acknowledged: Float64Array
  /** Writes sent and not answered, by block. */
  readonly #open = new Map<number, number>()
  /** Open writes of a connection that is gone, to be repeated. */
  #repeat: number[] = []
  #client: NbdClient | undefined
  #underWay = new Set<Promise<void>>()
  #sequence = 0
  #due = 0
  #ticked = 0
  #timer: NodeJS.Timeout | undefined
  readonly #phases = new Map<string, Phase>()
  #phase: Phase
  /** Errors that the disk answered with. A guest would have seen them. */
  readonly errors: Error[] = []
  #acknowledgedAt = 0
  #gapMaxMs = 0

  constructor(options: WriterOptions) {
    this.#options = options
    this.#acknowledged = new Float64Array(options.blockCount)
    this.#phase = this.startPhase('before')
  }

  /** Writes acknowledged so far. */
  get count(): number {
    let count = 0
    for (const { latencies } of this.#phases.values()) count += latencies.count
    return count
  }

  /** Longest time without an acknowledgement since `startGap`, in milliseconds. */
  get gapMaxMs(): number {
    return this.#gapMaxMs
  }

  startGap(): void {
    this.#acknowledgedAt = performance.now()
    this.#gapMaxMs = 0
  }

  /** Latencies and blocks of the writes sent from now on are counted under `name`. */
  startPhase(name: string): Phase {
    this.#phase = { latencies: new Latencies(), blocks: new Set() }
    this.#phases.set(name, this.#phase)
    return this.#phase
  }

  phase(name: string): Phase {
    return this.#phases.get(name) ?? { latencies: new Latencies(), blocks: new Set() }
  }

  /** Starts to write there, or goes on there. The client stays the caller's. */
  attach(client: NbdClient): void {
    this.detach()
    this.#client = client
    this.#ticked = performance.now()
    this.#due = 0
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
  }

  /** Stops using the connection. Its unanswered writes count as open: done or not, nobody knows. */
  detach(): void {
    this.#stopClock()
    this.#client = undefined
    this.#underWay = new Set()
    this.#repeat = [...this.#open.keys()]
  }

  /**
   * Sends nothing more, and settles when all that was sent is answered or the connection is gone.
   */
  async stop(): Promise<void> {
    this.#stopClock()
    const client = this.#client
    while (client !== undefined && this.#repeat.length > 0 && this.#client === client) {
      this.#fill(this.#repeat.length)
      await Promise.race(this.#underWay)
    }
    while (this.#underWay.size > 0) await Promise.all(this.#underWay)
  }

  /**
   * Reads back every block that was written. All acknowledged writes are there if `lost` is empty.
   */
  async verify(client: NbdClient): Promise<{ checked: number; lost: readonly LostBlock[] }> {
    const lost: LostBlock[] = []
    const written = [...this.#acknowledged.keys()].filter(
      index => this.#acknowledged[index] !== 0 || this.#open.has(index),
    )
    let next = 0
    const reader = async (): Promise<void> => {
      for (let index = written[next++]; index !== undefined; index = written[next++]) {
        const offset = this.#options.offsetOf(index)
        const found = sequenceOf(await client.read(offset, BLOCK_SIZE), index)
        const acknowledged = this.#acknowledged[index]!
        const open = this.#open.get(index)
        // A block that only has an open write may be anything that was there before.
        if (found === acknowledged || (open !== undefined && found === open)) continue
        if (acknowledged !== 0) lost.push({ offset, acknowledged, found })
      }
    }
    await Promise.all(Array.from({ length: VERIFY_DEPTH }, reader))
    return { checked: written.length, lost }
  }

  #stopClock(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  #tick(): void {
    const now = performance.now()
    const { rate, depth } = this.#options
    this.#due = rate === 0 ? depth : this.#due + ((now - this.#ticked) * rate) / 1000
    this.#ticked = now
    this.#fill(Math.floor(this.#due))
    // What a held disk kept from being sent is not made up for.
    this.#due = Math.min(this.#due, depth)
  }

  /** Sends up to `count` writes, as many as fit. */
  #fill(count: number): void {
    const client = this.#client
    if (client === undefined) return
    for (let left = count; left > 0 && this.#underWay.size < this.#options.depth; left--) {
      const index = this.#repeat.pop() ?? this.#pick()
      if (index === undefined) return
      const sequence = this.#open.get(index) ?? ++this.#sequence
      this.#due -= 1
      this.#track(this.#write(client, index, sequence))
      if (sequence % (this.#options.flushEvery ?? FLUSH_EVERY) === 0) this.#flush(client)
    }
  }

  #pick(): number | undefined {
    for (let attempt = 0; attempt < this.#options.depth + 1; attempt++) {
      const index = Math.floor(this.#options.random() * this.#options.blockCount)
      if (!this.#open.has(index)) return index
    }
    return undefined
  }

  async #write(client: NbdClient, index: number, sequence: number): Promise<void> {
    const block = new Uint8Array(BLOCK_SIZE)
    fillBlock(block, index, sequence)
    this.#open.set(index, sequence)
    const phase = this.#phase
    phase.blocks.add(index)
    const sent = performance.now()
    try {
      await client.write(this.#options.offsetOf(index), block)
    } catch (error) {
      this.#failed(client, error)
      return
    }
    if (this.#client !== client) return
    const now = performance.now()
    phase.latencies.add(now - sent)
    this.#gapMaxMs = Math.max(this.#gapMaxMs, now - this.#acknowledgedAt)
    this.#acknowledgedAt = now
    this.#acknowledged[index] = sequence
    this.#open.delete(index)
  }

  #flush(client: NbdClient): void {
    if (!client.has(NBD_FLAG_SEND_FLUSH)) return
    this.#track(client.flush().catch(error => this.#failed(client, error)))
  }

  #failed(client: NbdClient, error: unknown): void {
    if (this.#client !== client) return
    if (error instanceof ConnectionError) this.detach()
    else this.errors.push(error instanceof Error ? error : new Error(String(error)))
  }

  #track(promise: Promise<void>): void {
    const underWay = this.#underWay
    underWay.add(promise)
    void promise.finally(() => {
      underWay.delete(promise)
      if (this.#options.rate === 0 && this.#timer !== undefined) this.#fill(1)
    })
  }
}
