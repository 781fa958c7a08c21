/**
 * Puts a relay machine between real streams: hands it what arrives, writes what it says, asks its
 * owner. Back-pressure: while one side does not take what was written, the other is not read, so
 * that no more than a chunk and a stream's own buffer wait here. Questions are put one after
 * another: one that has been overtaken is told so by its signal, and the next waits until it has
 * settled.
 */
import type { Readable, Writable } from 'node:stream'
import type { RelayMachine, RelayOutput } from './relay-machine.ts'

export interface RelayStreams {
  /** What this host's xl writes, and what it reads. */
  readonly fromXl: Readable
  readonly toXl: Writable
  readonly fromLink: Readable
  readonly toLink: Writable
}

/** How the owner answers. Every answer has a deadline of its own, which the owner sees to. */
export type Answers<Question extends string> = Readonly<
  Record<Question, (signal: AbortSignal) => Promise<unknown>>
>

export interface PumpOptions {
  /**
   * The source stops reading xl at the end, so that xl's writes fail; the destination never does.
   */
  readonly stopsReadingXl: boolean
  /** Longest wait for xl once the other host is out of it (ms). */
  readonly endTimeoutMs?: number
}

/** xl destroys a domain in well under this; its own hotplug scripts have 40 s. */
export const END_TIMEOUT_MS = 60_000

/** Longest wait for the last bytes to be taken (ms). */
const FLUSH_TIMEOUT_MS = 5000

/**
 * Runs a relay to its end; settles once everything that was written has left, and never rejects.
 */
export function runRelay<Question extends string, M extends RelayMachine<Question>>(
  streams: RelayStreams,
  answers: Answers<Question>,
  options: PumpOptions,
  create: (output: RelayOutput<Question>) => M,
): { readonly machine: M; readonly finished: Promise<void> } {
  const pump = new RelayPump<Question, M>(streams, answers, options, create)
  return { machine: pump.machine, finished: pump.finished }
}

class RelayPump<Question extends string, M extends RelayMachine<Question>>
  implements RelayOutput<Question>
{
  readonly machine: M
  readonly finished: Promise<void>
  readonly #streams: RelayStreams
  readonly #answers: Answers<Question>
  readonly #options: PumpOptions
  #resolve: () => void = () => {}
  #question: Promise<void> = Promise.resolve()
  #overtake = new AbortController()
  #deadline: NodeJS.Timeout | undefined

  constructor(
    streams: RelayStreams,
    answers: Answers<Question>,
    options: PumpOptions,
    create: (output: RelayOutput<Question>) => M,
  ) {
    this.#streams = streams
    this.#answers = answers
    this.#options = options
    this.finished = new Promise(resolve => {
      this.#resolve = resolve
    })
    this.machine = create(this)
    const { fromXl, toXl, fromLink, toLink } = streams
    this.#read(
      fromXl,
      toLink,
      chunk => this.machine.fromXl(chunk),
      () => this.machine.xlEnded(),
    )
    this.#read(
      fromLink,
      toXl,
      chunk => this.machine.fromLink(chunk),
      () => this.machine.linkEnded(),
    )
    // A side that is gone shows on its reading end; bytes for it go nowhere.
    toXl.on('error', () => {})
    toLink.on('error', () => this.machine.linkEnded())
  }

  #read(from: Readable, to: Writable, take: (chunk: Uint8Array) => void, ended: () => void): void {
    from.on('data', (chunk: Uint8Array) => {
      take(chunk)
      if (!to.writableNeedDrain || to.destroyed) return
      from.pause()
      const goOn = (): void => {
        to.off('drain', goOn)
        to.off('close', goOn)
        from.resume()
      }
      to.on('drain', goOn)
      to.on('close', goOn)
    })
    from.on('end', ended)
    from.on('error', ended)
    from.on('close', ended)
  }

  toXl(bytes: Uint8Array): void {
    this.#write(this.#streams.toXl, bytes)
  }

  toLink(bytes: Uint8Array): void {
    this.#write(this.#streams.toLink, bytes)
  }

  #write(stream: Writable, bytes: Uint8Array): void {
    if (!stream.destroyed && !stream.writableEnded) stream.write(bytes)
  }

  endXl(): void {
    this.#streams.toXl.end()
    if (this.#options.stopsReadingXl) this.#streams.fromXl.destroy()
  }

  endLink(): void {
    this.#streams.toLink.end()
    this.#streams.fromLink.resume()
    const { endTimeoutMs = END_TIMEOUT_MS } = this.#options
    this.#deadline ??= setTimeout(() => this.machine.expire(), endTimeoutMs)
  }

  ask(question: Question): void {
    this.#overtake.abort()
    const overtake = new AbortController()
    this.#overtake = overtake
    this.#question = this.#question.then(() => this.#put(question, overtake.signal))
  }

  async #put(question: Question, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return
    let answer: unknown
    try {
      answer = await this.#answers[question](signal)
    } catch (error) {
      this.machine.failed(question, error)
      return
    }
    this.machine.answered(question, answer)
  }

  finish(): void {
    clearTimeout(this.#deadline)
    const { toXl, toLink, fromLink } = this.#streams
    fromLink.destroy()
    let left = 2
    const count = (): void => {
      if (--left === 0) this.#resolve()
    }
    for (const stream of [toXl, toLink]) {
      if (stream.closed || stream.writableFinished) {
        count()
        continue
      }
      // A reader that has stopped for good must not hold us.
      const timer = setTimeout(() => stream.destroy(), FLUSH_TIMEOUT_MS)
      stream.once('close', () => {
        clearTimeout(timer)
        count()
      })
    }
  }
}
