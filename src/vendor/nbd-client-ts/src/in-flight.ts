// Requests that wait for their reply, by cookie. A cookie is two u32; the key is one number, which
// holds both exactly because the high half is kept below 2^21.

import { NBD_CMD_BLOCK_STATUS, NBD_CMD_READ } from './constants.ts'
import { ProtocolError } from './errors.ts'
import { ReplyProgress, type ReplyRequest } from './reply-progress.ts'

const COOKIE_HIGH_MAX = 2 ** 21 - 1

/** A map from cookies to the replies that are arriving, in the order of the requests. */
export class InFlight<R extends ReplyRequest> {
  readonly #replies = new Map<number, ReplyProgress<R>>()

  get count(): number {
    return this.#replies.size
  }

  *requests(): IterableIterator<R> {
    for (const { request } of this.#replies.values()) yield request
  }

  /** Throws RangeError for a request to which no reply could be told right from wrong. */
  add(request: R): void {
    const { cookieHigh, cookieLow, command, length, destination } = request
    const key = cookieKey(cookieHigh, cookieLow)
    if (cookieHigh > COOKIE_HIGH_MAX || this.#replies.has(key)) {
      throw new RangeError('cookie is in use, or its high half is 2^21 or more')
    }
    if (command === NBD_CMD_READ && destination?.length !== length) {
      throw new RangeError('a read needs a destination of its length')
    }
    if (length === 0 && (command === NBD_CMD_READ || command === NBD_CMD_BLOCK_STATUS)) {
      throw new RangeError('a read or block status needs a length')
    }
    this.#replies.set(key, new ReplyProgress(request))
  }

  /** The reply whose cookie is in `view`. Throws ProtocolError if nobody waits for it. */
  find(view: DataView, cookieAt: number): ReplyProgress<R> {
    const high = view.getUint32(cookieAt)
    const key = cookieKey(high, view.getUint32(cookieAt + 4))
    const progress = high <= COOKIE_HIGH_MAX ? this.#replies.get(key) : undefined
    if (!progress) {
      const received = `0x${view.getBigUint64(cookieAt).toString(16)}`
      throw new ProtocolError('cookie of a reply', 'that of a request in flight', received)
    }
    return progress
  }

  remove({ cookieHigh, cookieLow }: R): void {
    this.#replies.delete(cookieKey(cookieHigh, cookieLow))
  }
}

function cookieKey(high: number, low: number): number {
  return high * 2 ** 32 + low
}
