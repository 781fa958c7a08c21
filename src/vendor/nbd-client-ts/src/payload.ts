// Reading and writing the variable data of options and option replies. The reader owns a slice of
// peer input and throws ProtocolError for everything that does not fit it exactly; it never
// believes a length that the peer states.

import { NBD_MAX_STRING } from './constants.ts'
import { ProtocolError } from './errors.ts'
import { getU64, putU64 } from './wire.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** UTF-8 of a string, which must be one the protocol allows: no NUL, at most 4096 bytes. */
export function encodeText(text: string, what: string): Uint8Array {
  const bytes = encoder.encode(text)
  if (bytes.length > NBD_MAX_STRING) {
    throw new RangeError(`${what} has ${bytes.length} bytes: NBD allows ${NBD_MAX_STRING}`)
  }
  if (bytes.includes(0)) throw new RangeError(`${what} contains a NUL character`)
  return bytes
}

/** Bytes of a peer as text for a human: never throws, unprintable characters are replaced. */
export function lossyText(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes)
  return text.replace(/\p{Cc}/gu, '?')
}

/** The server's words for an error, for the end of ours. */
export function messageSuffix(data: Uint8Array): string {
  return data.length > 0 ? ` (${lossyText(data)})` : ''
}

/** Takes values off the front of a payload. */
export class PayloadReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #what: string
  #at = 0

  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.#what = what
  }

  /** Bytes not read yet. */
  get remaining(): number {
    return this.#bytes.length - this.#at
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2))
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4))
  }

  /** A u64 that a number can hold; throws ProtocolError for a larger one. */
  u64(): number {
    return getU64(this.#view, this.#advance(8))
  }

  /** A string of `length` bytes under the rules of the protocol. */
  text(length: number): string {
    if (length > NBD_MAX_STRING) {
      throw new ProtocolError(this.#what, `a string of ${NBD_MAX_STRING} bytes`, `${length} bytes`)
    }
    const at = this.#advance(length)
    const bytes = this.#bytes.subarray(at, at + length)
    if (bytes.includes(0)) throw new ProtocolError(this.#what, 'a string', 'a NUL character')
    try {
      return decoder.decode(bytes)
    } catch (cause) {
      throw new ProtocolError(this.#what, 'UTF-8', 'other bytes', { cause })
    }
  }

  /** Checks that nothing is left. */
  end(): void {
    if (this.remaining !== 0) {
      throw new ProtocolError(this.#what, 'its end', `${this.remaining} more bytes`)
    }
  }

  #advance(length: number): number {
    if (length > this.remaining) {
      throw new ProtocolError(this.#what, `${length} more bytes`, `${this.remaining}`)
    }
    const at = this.#at
    this.#at += length
    return at
  }
}

/** Builds a payload front to back. Allocates; the handshake is not a hot path. */
export class PayloadWriter {
  readonly #parts: Uint8Array[] = []

  u16(value: number): this {
    return this.#put(2, view => view.setUint16(0, value))
  }

  u32(value: number): this {
    return this.#put(4, view => view.setUint32(0, value))
  }

  u64(value: number): this {
    return this.#put(8, view => putU64(view, 0, value))
  }

  bytes(bytes: Uint8Array): this {
    this.#parts.push(bytes)
    return this
  }

  /** A string preceded by its length as u32. */
  sizedText(text: string, what: string): this {
    const bytes = encodeText(text, what)
    return this.u32(bytes.length).bytes(bytes)
  }

  finish(): Uint8Array {
    return concatBytes(this.#parts)
  }

  #put(size: number, write: (view: DataView) => void): this {
    const bytes = new Uint8Array(size)
    write(new DataView(bytes.buffer))
    this.#parts.push(bytes)
    return this
  }
}

/** One array with the bytes of all. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const whole = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}
