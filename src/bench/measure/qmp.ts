/**
 * QMP, the protocol of QEMU's monitor: JSON objects a line over a unix socket; commands are
 * answered in order, events come in between. Only as much as driving a block job needs.
 */
import { connect, type Socket } from 'node:net'

const ANSWER_MS_MAX = 30_000
const EVENTS_KEPT_MAX = 1000

export interface QmpEvent {
  readonly event: string
  readonly data: Readonly<Record<string, unknown>>
  /** When QEMU says that it happened: milliseconds of the wall clock. */
  readonly atMs: number
}

interface Waiter {
  matches(event: QmpEvent): boolean
  resolve(event: QmpEvent): void
}

interface Call {
  resolve(result: unknown): void
  reject(error: Error): void
}

interface Line {
  readonly event?: string
  readonly data?: Readonly<Record<string, unknown>>
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number }
  readonly return?: unknown
  readonly error?: { readonly desc: string }
}

export class Qmp implements Disposable {
  readonly #socket: Socket
  readonly #calls: Call[] = []
  readonly #waiters = new Set<Waiter>()
  readonly #events: QmpEvent[] = []
  #rest = ''

  private constructor(path: string) {
    this.#socket = connect(path)
    this.#socket.setEncoding('utf8').on('data', text => this.#receive(String(text)))
    this.#socket.on('error', error => this.#fail(error))
    this.#socket.on('close', () => this.#fail(new Error('QMP: the monitor has closed')))
  }

  static async connect(path: string): Promise<Qmp> {
    const qmp = new Qmp(path)
    await qmp.execute('qmp_capabilities')
    return qmp
  }

  /** Rejects with QEMU's own sentence. */
  execute(command: string, args: object = {}): Promise<unknown> {
    const result = new Promise<unknown>((resolve, reject) => this.#calls.push({ resolve, reject }))
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`)
    return within(ANSWER_MS_MAX, result, `QMP: no answer to ${command}`)
  }

  /** The first event, also a past one, of one of these names and this job. */
  event(names: readonly string[], job: string, timeoutMs: number): Promise<QmpEvent> {
    const matches = ({ event, data }: QmpEvent): boolean =>
      names.includes(event) && (data.device ?? data.id) === job
    const past = this.#events.find(matches)
    if (past !== undefined) return Promise.resolve(past)
    let waiter: Waiter | undefined
    const found = new Promise<QmpEvent>(resolve => {
      waiter = { matches, resolve }
      this.#waiters.add(waiter)
    })
    return within(timeoutMs, found, `QMP: no ${names.join(' or ')}`).finally(() => {
      this.#waiters.delete(waiter!)
    })
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  #receive(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) if (line.trim() !== '') this.#handle(JSON.parse(line) as Line)
  }

  #handle({ event, data = {}, timestamp, error, ...line }: Line): void {
    if (event !== undefined) {
      const atMs = (timestamp?.seconds ?? 0) * 1000 + (timestamp?.microseconds ?? 0) / 1000
      this.#tell({ event, data, atMs })
    } else if (error !== undefined) {
      this.#calls.shift()?.reject(new Error(`QMP: ${error.desc}`))
    } else if ('return' in line) {
      this.#calls.shift()?.resolve(line.return)
    }
  }

  #tell(event: QmpEvent): void {
    this.#events.push(event)
    if (this.#events.length > EVENTS_KEPT_MAX) this.#events.shift()
    for (const waiter of this.#waiters) if (waiter.matches(event)) waiter.resolve(event)
  }

  #fail(error: Error): void {
    for (const call of this.#calls.splice(0)) call.reject(error)
  }
}

function within<T>(timeoutMs: number, promise: Promise<T>, sentence: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${sentence} within ${timeoutMs} ms`)),
      timeoutMs,
    )
    promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
