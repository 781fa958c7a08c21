// Transcripts of a server's replies, legal and illegal, put together chunk by chunk.

import * as nbd from '../../src/index.ts'
import { wire } from './handshake.ts'

/** A request in flight; a read gets a destination full of `?`. */
export function request(
  cookieLow: number,
  command: number,
  offset: number,
  length: number,
  flags = 0,
): nbd.ReplyRequest {
  const fields = { cookieHigh: 0, cookieLow, command, flags, offset, length }
  if (command !== nbd.NBD_CMD_READ) return fields
  return { ...fields, destination: new Uint8Array(length).fill(0x3f) }
}

/** Builds a transcript; every method adds one message. */
export class Replies {
  #parts: Uint8Array[] = []

  raw(bytes: Uint8Array): this {
    this.#parts.push(bytes)
    return this
  }

  simple(cookie: number, error: number, data = ''): this {
    const header = new Uint8Array(nbd.SIMPLE_REPLY_SIZE)
    nbd.putSimpleReply(new DataView(header.buffer), 0, error, 0, cookie)
    return this.raw(wire(header, data))
  }

  /** A chunk header that may promise any payload. */
  header(cookie: number, flags: number, type: number, length: number): this {
    const header = new Uint8Array(nbd.STRUCTURED_REPLY_SIZE)
    nbd.putStructuredReply(new DataView(header.buffer), 0, flags, type, 0, cookie, length)
    return this.raw(header)
  }

  chunk(cookie: number, type: number, payload: Uint8Array, flags = 0): this {
    return this.header(cookie, flags, type, payload.length).raw(payload)
  }

  none(cookie: number): this {
    return this.chunk(cookie, nbd.NBD_REPLY_TYPE_NONE, wire(), nbd.NBD_REPLY_FLAG_DONE)
  }

  data(cookie: number, offset: number, data: string, flags = 0): this {
    return this.chunk(cookie, nbd.NBD_REPLY_TYPE_OFFSET_DATA, wire([64, offset], data), flags)
  }

  hole(cookie: number, offset: number, length: number, flags = 0): this {
    const payload = wire([64, offset], [32, length])
    return this.chunk(cookie, nbd.NBD_REPLY_TYPE_OFFSET_HOLE, payload, flags)
  }

  error(cookie: number, error: number, message: string, flags = 0): this {
    const payload = wire([32, error], [16, message.length], message)
    return this.chunk(cookie, nbd.NBD_REPLY_TYPE_ERROR, payload, flags)
  }

  errorOffset(cookie: number, error: number, message: string, offset: number, flags = 0): this {
    const payload = wire([32, error], [16, message.length], message, [64, offset])
    return this.chunk(cookie, nbd.NBD_REPLY_TYPE_ERROR_OFFSET, payload, flags)
  }

  blockStatus(
    cookie: number,
    contextId: number,
    extents: readonly (readonly [number, number])[],
    flags = 0,
  ): this {
    const fields = extents.flatMap(
      ([length, status]) =>
        [
          [32, length],
          [32, status],
        ] as const,
    )
    const payload = wire([32, contextId], ...fields)
    return this.chunk(cookie, nbd.NBD_REPLY_TYPE_BLOCK_STATUS, payload, flags)
  }

  finish(): Uint8Array {
    return wire(...this.#parts)
  }
}
