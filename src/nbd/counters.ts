/**
 * What the data thread has done, counted in memory that the control thread reads: progress costs no
 * message. One writer, so plain stores of doubles do; a reader may see one counter a request ahead
 * of another.
 */
import {
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from 'nbd-client-ts'
import type { Request } from '../block/request.ts'

export const COUNTER_NAMES = [
  'reads',
  'readBytes',
  'writes',
  'writtenBytes',
  'flushes',
  'trims',
  'trimmedBytes',
  'writeZeroes',
  'zeroedBytes',
  'otherRequests',
  'errors',
  'connections',
] as const

export type CounterName = (typeof COUNTER_NAMES)[number]

const INDEX = Object.fromEntries(COUNTER_NAMES.map((name, index) => [name, index])) as Record<
  CounterName,
  number
>

export class Counters {
  /** Hand this to the other thread. */
  readonly buffer: SharedArrayBuffer
  readonly #values: Float64Array

  constructor(buffer = new SharedArrayBuffer(COUNTER_NAMES.length * 8)) {
    this.buffer = buffer
    this.#values = new Float64Array(buffer)
  }

  add(name: CounterName, amount: number): void {
    this.#values[INDEX[name]]! += amount
  }

  get(name: CounterName): number {
    return this.#values[INDEX[name]]!
  }

  /** A copy of all of them. */
  all(): Record<CounterName, number> {
    const entries = COUNTER_NAMES.map(name => [name, this.get(name)])
    return Object.fromEntries(entries) as Record<CounterName, number>
  }
}

/** Counts a request that completed; its bytes only if it succeeded. */
export function countRequest(counters: Counters, { command, error, length }: Request): void {
  const bytes = error === 0 ? length : 0
  if (error !== 0) counters.add('errors', 1)
  switch (command) {
    case NBD_CMD_READ:
      counters.add('reads', 1)
      counters.add('readBytes', bytes)
      break
    case NBD_CMD_WRITE:
      counters.add('writes', 1)
      counters.add('writtenBytes', bytes)
      break
    case NBD_CMD_FLUSH:
      counters.add('flushes', 1)
      break
    case NBD_CMD_TRIM:
      counters.add('trims', 1)
      counters.add('trimmedBytes', bytes)
      break
    case NBD_CMD_WRITE_ZEROES:
      counters.add('writeZeroes', 1)
      counters.add('zeroedBytes', bytes)
      break
    default:
      counters.add('otherRequests', 1)
  }
}
