/**
 * A request of a client, from its header's arrival until its reply has left, and the pool that
 * bounds how many there are, for all connections and for each. It owns 32 bytes for a reply header;
 * a payload lives in an arena slot that it holds for the same time. Both go back when the reply has
 * left and nobody below still borrows the payload.
 */

import { type Completion, type Lender, Request } from '../block/request.ts'
import type { Arena, ArenaShare, Slot } from '../io/arena.ts'
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
  share: PoolShare | undefined = undefined
  cookieHigh = 0
  cookieLow = 0
  slot: Slot | undefined = undefined
  /** Its reply has left; it waits for a borrower. */
  isAnswered = false

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

/** What one connection has of a pool. */
export class PoolShare {
  readonly slots: ArenaShare
  requests = 0

  constructor(slots: ArenaShare) {
    this.slots = slots
  }
}

export class ServerRequestPool implements Lender {
  readonly #arena: Arena
  readonly #released: () => void
  readonly #free: ServerRequest[] = []

  /** `released` runs whenever a request has come back. */
  constructor(count: number, arena: Arena, released: () => void) {
    this.#arena = arena
    this.#released = released
    const headers = mapAnonymous(count * REPLY_HEADER_SIZE)
    const view = new DataView(headers.bytes.buffer, headers.bytes.byteOffset)
    for (let index = count - 1; index >= 0; index--) {
      const request = new ServerRequest(headers, view, index)
      request.lender = this
      this.#free.push(request)
    }
  }

  createShare(): PoolShare {
    return new PoolShare(this.#arena.createShare())
  }

  /**
   * A request for `connection` with room for `payloadLength` bytes of data; undefined while there
   * is none, or the connection has as much as would be left: a client that takes no replies keeps
   * what it has, and must not be able to keep everything.
   */
  acquire(
    connection: Connection,
    share: PoolShare,
    payloadLength: number,
  ): ServerRequest | undefined {
    if (share.requests >= this.#free.length) return undefined
    const request = this.#free[this.#free.length - 1]!
    if (payloadLength > 0) {
      const slot = this.#arena.acquire(payloadLength, share.slots)
      if (slot === undefined) return undefined
      request.slot = slot
    }
    this.#free.pop()
    share.requests++
    request.share = share
    request.connection = connection
    return request
  }

  /**
   * Takes a request back whose reply has left, or never will; at once, or when its borrower is
   * done.
   */
  release(request: ServerRequest): void {
    if (request.isLent) {
      request.isAnswered = true
      return
    }
    if (request.slot !== undefined) this.#arena.release(request.slot)
    request.share!.requests--
    request.share = undefined
    request.slot = undefined
    request.memory = undefined
    request.connection = undefined
    request.isAnswered = false
    this.#free.push(request)
    this.#released()
  }

  givenBack(request: Request): void {
    const returned = request as ServerRequest
    if (returned.isAnswered) this.release(returned)
  }
}
