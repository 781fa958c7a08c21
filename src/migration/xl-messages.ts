/**
 * The fixed messages of `xl migrate` (tools/xl/xl.h, the same from Xen 4.6 to 4.20) and a reader
 * that recognises them at exactly the place where they have to be. Nothing else travels from the
 * receiving xl to the sending one; what the sending one writes before permission is never looked
 * into.
 */

const text = (words: string, isEnded: boolean): Uint8Array =>
  new TextEncoder().encode(isEnded ? `${words}\0` : words)

/** Receiver: speaks first. The only one without a NUL at its end. */
export const BANNER = text('xl migration receiver ready, send binary domain data.\n', false)
/** Receiver: the domain is whole, and paused. */
export const READY = text('domain received, ready to unpause', true)
/** Sender: permission to start. Receiver, after a failure: permission to resume. */
export const GO = text('domain is yours, you are cleared to unpause', true)
/** Receiver: how starting went; one byte follows, 0 for success. */
export const REPORT = text('my copy unpause results are as follows', true)

/** Reads one message that is known beforehand, however it is cut. */
export class FixedMessage {
  readonly expected: Uint8Array
  #matched = 0

  constructor(expected: Uint8Array) {
    this.expected = expected
  }

  get isWhole(): boolean {
    return this.#matched === this.expected.byteLength
  }

  get isEmpty(): boolean {
    return this.#matched === 0
  }

  /** Takes bytes from `chunk` at `offset`; returns how many, or -1 if one of them is wrong. */
  take(chunk: Uint8Array, offset: number): number {
    const count = Math.min(this.expected.byteLength - this.#matched, chunk.byteLength - offset)
    for (let index = 0; index < count; index++) {
      if (chunk[offset + index] !== this.expected[this.#matched + index]) return -1
    }
    this.#matched += count
    return count
  }
}
