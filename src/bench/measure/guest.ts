/**
 * A guest: fio writing 4 KiB blocks at random until it is told to stop, with a log of every write.
 * The times in the log are those of the wall clock, so that a part of its life can be looked at,
 * for example the time of a copy. While a write takes long fio sends no more than its depth: the
 * tail is that of the requests it did send, not of those that were due meanwhile.
 */
import type { ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { Histogram } from '../histogram.ts'
import { startChild } from './child.ts'
import { fixture } from './fio.ts'

/** A guest that nobody stops ends by itself. */
const LIFE_SECONDS_MAX = 120
const STOP_MS_MAX = 20_000
const CONNECT_MS_MAX = 30_000
/** What fio’s nbd engine prints when its first request can be sent. */
const CONNECTED = 'connected to NBD server'

export interface GuestOptions {
  readonly uri: string
  /** Writes a second; 0 for as many as it can. */
  readonly rate: number
  readonly depth: number
  /** Bytes from the start of the disk. */
  readonly size: number
  readonly folder: string
}

/** One write: when it was answered (wall clock, ms) and how long it took (ns). */
export type GuestWrite = readonly [atMs: number, nanoseconds: number]

/** The wall clock, in the same milliseconds as the log's. */
export function wallMs(): number {
  return performance.timeOrigin + performance.now()
}

export class Guest implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #ended: Promise<number | null>
  readonly #stem: string
  #errors = ''
  #isOver = false

  private constructor({ uri, rate, depth, size, folder }: GuestOptions) {
    this.#stem = join(folder, `guest-${randomUUID()}`)
    const argv = ['fio', '--eta=never', fixture('guest')]
    this.#child = startChild(argv, {
      env: {
        URI: uri,
        RATE: String(rate),
        DEPTH: String(depth),
        SIZE: String(size),
        RUNTIME: `${LIFE_SECONDS_MAX}s`,
        LOG: this.#stem,
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#errors = (this.#errors + text).slice(-4096)
    })
    this.#ended = new Promise(resolve => {
      this.#child.on('error', () => resolve(null))
      this.#child.on('exit', code => resolve(code))
    })
    void this.#ended.then(() => {
      this.#isOver = true
    })
  }

  /** Resolves after it has written for `seconds`. */
  static async start(options: GuestOptions, seconds: number): Promise<Guest> {
    const guest = new Guest(options)
    await guest.#connected()
    await sleep(seconds * 1000)
    if (guest.#isOver) throw new Error(`fio ended early: ${guest.#errors.trim()}`)
    return guest
  }

  /** Ends the guest and returns what it noted. */
  async stop(): Promise<GuestWrites> {
    if (this.#isOver) throw new Error(`fio ended early: ${this.#errors.trim()}`)
    this.#child.kill('SIGINT')
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS_MAX)
    await this.#ended
    clearTimeout(timer)
    return new GuestWrites(parseLog(await readFile(`${this.#stem}_lat.log`, 'utf8')))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
    await rm(`${this.#stem}_lat.log`, { force: true })
  }

  #connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`fio did not connect within ${CONNECT_MS_MAX / 1000} s`)),
        CONNECT_MS_MAX,
      )
      const settled = (): void => {
        clearTimeout(timer)
        resolve()
      }
      this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => {
        if (text.includes(CONNECTED)) settled()
      })
      void this.#ended.then(settled)
    })
  }
}

export class GuestWrites {
  readonly #writes: readonly GuestWrite[]

  constructor(writes: readonly GuestWrite[]) {
    this.#writes = writes
  }

  /** Latencies of the writes answered from `fromMs` to before `toMs`. */
  between(fromMs: number, toMs: number): Histogram {
    const histogram = new Histogram()
    for (const [atMs, nanoseconds] of this.#writes) {
      if (atMs >= fromMs && atMs < toMs) histogram.add(nanoseconds)
    }
    return histogram
  }

  iops(fromMs: number, toMs: number): number {
    return (this.between(fromMs, toMs).total / (toMs - fromMs)) * 1000
  }
}

/** Pure: lines of `time in ms, latency in ns, direction, size, ...`. */
export function parseLog(text: string): GuestWrite[] {
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => {
      const [atMs, nanoseconds] = line.split(',', 2).map(Number)
      return [atMs!, nanoseconds!] as const
    })
}
