// Framing and data of options (client to server) and option replies (server to client), encoded
// and decoded in one place so that both roles agree. Decoders throw ProtocolError.

import {
  NBD_INFO_BLOCK_SIZE,
  NBD_INFO_EXPORT,
  NBD_MINIMUM_BLOCK_MAX,
  NBD_OPTS_MAGIC_HIGH,
  NBD_OPTS_MAGIC_LOW,
  NBD_PREFERRED_BLOCK_MIN,
  NBD_REP_MAGIC_HIGH,
  NBD_REP_MAGIC_LOW,
} from './constants.ts'
import { ProtocolError } from './errors.ts'
import { META_QUERIES_MAX } from './limits.ts'
import { PayloadReader, PayloadWriter } from './payload.ts'

/** Size constraints of an export in bytes ("Size constraints"). */
export interface BlockSize {
  readonly minimum: number
  readonly preferred: number
  /** Largest payload of one request. */
  readonly maximum: number
}

/** A meta context selected for a session; the id is what block status replies carry. */
export interface MetaContext {
  readonly id: number
  readonly name: string
}

/** Data of NBD_OPT_INFO and NBD_OPT_GO. */
export interface InfoRequest {
  readonly name: string
  readonly wanted: readonly number[]
}

/** Data of NBD_OPT_LIST_META_CONTEXT and NBD_OPT_SET_META_CONTEXT. */
export interface MetaRequest {
  readonly name: string
  readonly queries: readonly string[]
}

export function encodeOption(option: number, data: Uint8Array): Uint8Array {
  return new PayloadWriter()
    .u32(NBD_OPTS_MAGIC_HIGH)
    .u32(NBD_OPTS_MAGIC_LOW)
    .u32(option)
    .u32(data.length)
    .bytes(data)
    .finish()
}

export function encodeOptionReply(option: number, type: number, data: Uint8Array): Uint8Array {
  return new PayloadWriter()
    .u32(NBD_REP_MAGIC_HIGH)
    .u32(NBD_REP_MAGIC_LOW)
    .u32(option)
    .u32(type)
    .u32(data.length)
    .bytes(data)
    .finish()
}

export function encodeInfoRequest({ name, wanted }: InfoRequest): Uint8Array {
  const writer = new PayloadWriter().sizedText(name, 'export name').u16(wanted.length)
  for (const type of wanted) writer.u16(type)
  return writer.finish()
}

export function decodeInfoRequest(data: Uint8Array): InfoRequest {
  const reader = new PayloadReader(data, 'info request')
  const name = reader.text(reader.u32())
  const wanted: number[] = []
  for (let count = reader.u16(); count > 0; count--) wanted.push(reader.u16())
  reader.end()
  return { name, wanted }
}

export function encodeMetaRequest({ name, queries }: MetaRequest): Uint8Array {
  const writer = new PayloadWriter().sizedText(name, 'export name').u32(queries.length)
  for (const query of queries) writer.sizedText(query, 'meta context query')
  return writer.finish()
}

/** Decodes a meta context option; `queries` is 'too-many' if there are more than our limit. */
export function decodeMetaRequest(data: Uint8Array): MetaRequest | 'too-many' {
  const reader = new PayloadReader(data, 'meta context request')
  const name = reader.text(reader.u32())
  const count = reader.u32()
  // Each query has at least its length, so a larger count is malformed, not merely large.
  if (count * 4 > reader.remaining) {
    const received = `${count} in ${reader.remaining} bytes`
    throw new ProtocolError('meta context request', 'all its queries', received)
  }
  if (count > META_QUERIES_MAX) return 'too-many'
  const queries: string[] = []
  for (let left = count; left > 0; left--) queries.push(reader.text(reader.u32()))
  reader.end()
  return { name, queries }
}

export function encodeInfoExport(size: number, flags: number): Uint8Array {
  return new PayloadWriter().u16(NBD_INFO_EXPORT).u64(size).u16(flags).finish()
}

export function encodeInfoBlockSize({ minimum, preferred, maximum }: BlockSize): Uint8Array {
  const writer = new PayloadWriter().u16(NBD_INFO_BLOCK_SIZE)
  return writer.u32(minimum).u32(preferred).u32(maximum).finish()
}

/** What is wrong with size constraints by the rules of the specification; undefined if nothing. */
export function blockSizeFault({ minimum, preferred, maximum }: BlockSize): string | undefined {
  if (!isPowerOfTwo(minimum) || minimum > NBD_MINIMUM_BLOCK_MAX) {
    return `minimum block size ${minimum} is not a power of 2 up to ${NBD_MINIMUM_BLOCK_MAX}`
  }
  const preferredMin = Math.max(minimum, NBD_PREFERRED_BLOCK_MIN)
  if (!isPowerOfTwo(preferred) || preferred < preferredMin) {
    return `preferred block size ${preferred} is not a power of 2 from ${preferredMin} on`
  }
  if (maximum < preferred || maximum > 0xffffffff) {
    return `maximum payload ${maximum} is not between the preferred block size and 2^32 - 1`
  }
  return undefined
}

function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(value) && value > 0 && Number.isInteger(Math.log2(value))
}
