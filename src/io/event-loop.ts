/**
 * How an engine that blocks its thread shares it with Node's event loop. While the engine waits in
 * the kernel nothing else runs, therefore:
 * - each turn is a process.nextTick that a microtask queued, so that promises resolved by the last
 *   one have run to their end first;
 * - the engine also waits for the event loop's own epoll fd: whatever wakes Node (a message, a
 *   socket, the thread pool, a signal) ends the wait, and the next turn comes through setImmediate,
 *   after a whole iteration of the event loop;
 * - no wait is longer than the event loop's own would be, which is 0 when immediates are queued.
 *
 * Belongs to one engine and its thread.
 */
import { eventLoopFd, eventLoopOfThread, eventLoopTimeout } from './libc-uring.ts'

/** Turns until the event loop gets an iteration even if nothing asked for one. */
const TURNS_MAX = 16
const INTERVAL_MS_MAX = 2 ** 31 - 1
const RESOLVED = Promise.resolve()

export class EventLoop {
  /** Readable when the event loop has something to do. */
  readonly fd: number
  readonly #loop: number
  readonly #turn: () => void
  /**
   * Without a handle of its own an event loop never waits; this one counts while the engine has
   * turns.
   */
  readonly #keepAlive: NodeJS.Timeout
  #isWanted = false
  #turns = 0
  /** When the current iteration reached us (ms). */
  #iterationStart = 0

  constructor(turn: () => void) {
    this.#loop = eventLoopOfThread()
    this.fd = eventLoopFd(this.#loop)
    this.#turn = turn
    this.#keepAlive = setInterval(() => {}, INTERVAL_MS_MAX).unref()
  }

  /** Turns begin, the first one soon. */
  start(): void {
    this.#keepAlive.ref()
    setImmediate(this.#iterated)
  }

  /** Turns end; the thread may exit if nothing else keeps it. */
  stop(): void {
    this.#keepAlive.unref()
  }

  close(): void {
    clearInterval(this.#keepAlive)
  }

  /** The fd was readable: an iteration comes before the next turn. */
  want(): void {
    this.#isWanted = true
  }

  /** How long the event loop can wait for us (ms). */
  spareMs(now: number): number {
    const timeoutMs = eventLoopTimeout(this.#loop)
    const spareMs =
      timeoutMs < 0 ? Number.POSITIVE_INFINITY : timeoutMs - (now - this.#iterationStart)
    if (spareMs <= 0) this.#isWanted = true
    return this.#isWanted ? 0 : spareMs
  }

  /** Queues the next turn. */
  continue(): void {
    if (this.#isWanted || ++this.#turns === TURNS_MAX) setImmediate(this.#iterated)
    else RESOLVED.then(this.#microtask)
  }

  readonly #iterated = (): void => {
    // Until this phase ends libuv takes the immediate that runs now for one still to come. Clearing
    // another makes Node count.
    clearImmediate(setImmediate(this.#turn))
    this.#isWanted = false
    this.#turns = 0
    this.#iterationStart = performance.now()
    this.#turn()
  }

  /** All microtasks run, however long their chains, before the tick that this one queues. */
  readonly #microtask = (): void => process.nextTick(this.#turn)
}
