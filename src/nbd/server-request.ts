/**
 * A request of a client, from its header's arrival until its reply has left, and the pool that bounds how many there are. It owns
 * 32 bytes for a reply header; a payload lives in an arena slot that it holds for the same time. The slot
 * goes back when the reply has left and nobody below still borrows the payload.
 */

import type { Completion } from '../block/request.ts'
import { Request } from '../block/request.ts'
import type { Arena, Slot } from '../io/arena.ts'
import type { Memory } from '../io/memory.ts'
import { mapAnonymous } from '../io/mmap.ts'
import type { Connection } from './connection.ts'

/** Bytes of a header in the shared memory: the longest without data is an error chunk of 26. */
export const REPLY_HEADER_SIZE = 32

export class ServerRequest extends Request implements Completion {
  readonly headers: Memory
  readonly headerView: DataView
  /** Where this request's reply header starts in `headers`. */
  readonly headerAt: number
  connection: Connection | undefined = undefined
  cookieHigh = 0
  cookieLow = 0
  slot: Slot | undefined = undefined

  constructor(headers: Memory, headerView: DataView, index: number) {
    super()
    this.headers = headers
    this.headerView = headerView
    this.headerAt = index * REPLY_HEADER_SIZE
  }

  completed(): void {
    this.connection!.completed(this)
  }
}

export class ServerRequestPool {
  readonly arena: Arena
  readonly #free: ServerRequest[] = []

  constructor(count: number, arena: Arena) {
    this.arena = arena
    const headers = mapAnonymous(count * REPLY_HEADER_SIZE)
    const view = new DataView(headers.bytes.buffer, headers.bytes.byteOffset)
    for (let index = count - 1; index >= 0; index--) {
      this.#free.push(new ServerRequest(headers, view, index))
    }
  }

  /**
   * A request for `connection` with room for `payloadLength` bytes of data; undefined while there is none.
   */
  acquire(connection: Connection, payloadLength: number): ServerRequest | undefined {
    const request = this.#free.at(-1)
    if (request === undefined) return undefined
    if (payloadLength > 0) {
      const slot = this.arena.acquire(payloadLength)
      if (slot === undefined) return undefined
      request.slot = slot
    }
    this.#free.pop()
    request.connection = connection
    return request
  }

  release(request: ServerRequest): void {
    if (request.slot !== undefined) this.arena.release(request.slot)
    request.slot = undefined
    request.memory = undefined
    request.connection = undefined
    this.#free.push(request)
  }
}
