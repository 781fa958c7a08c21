// Which bytes of a read have been answered. Content chunks may come in any order but must not
// overlap; adjacent ones merge, so that a server that answers in order costs one interval.

import { ProtocolError } from './errors.ts'
import { READ_FRAGMENTS_MAX } from './limits.ts'

/** Disjoint byte ranges in ascending order, with a limit on how many. */
export class Coverage {
  /** Bytes covered. */
  bytes = 0
  readonly #starts: number[] = []
  readonly #ends: number[] = []

  /** Adds a range. Throws ProtocolError if part of it is there already, or for too many gaps. */
  add(offset: number, length: number): void {
    const end = offset + length
    let next = this.#starts.length
    while (next > 0 && this.#starts[next - 1]! > offset) next--
    const overlapsBefore = next > 0 && this.#ends[next - 1]! > offset
    const overlapsAfter = next < this.#starts.length && this.#starts[next]! < end
    if (overlapsBefore || overlapsAfter) {
      const received = `offset=${offset} length=${length} again`
      throw new ProtocolError('content of a read', 'each byte once', received)
    }
    this.bytes += length
    const joinsBefore = next > 0 && this.#ends[next - 1] === offset
    const joinsAfter = next < this.#starts.length && this.#starts[next] === end
    if (joinsBefore && joinsAfter) {
      this.#ends.splice(next - 1, 1)
      this.#starts.splice(next, 1)
    } else if (joinsBefore) {
      this.#ends[next - 1] = end
    } else if (joinsAfter) {
      this.#starts[next] = offset
    } else {
      this.#insert(next, offset, end)
    }
  }

  #insert(at: number, start: number, end: number): void {
    if (this.#starts.length >= READ_FRAGMENTS_MAX) {
      throw new ProtocolError('content of a read', `${READ_FRAGMENTS_MAX} fragments`, 'more')
    }
    this.#starts.splice(at, 0, start)
    this.#ends.splice(at, 0, end)
  }
}
