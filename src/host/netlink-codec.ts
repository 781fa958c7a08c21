/**
 * The bytes of netlink and generic netlink (linux/netlink.h, linux/genetlink.h): messages,
 * attributes, acknowledgements with the kernel's own sentence. Pure: takes and returns values.
 * Little-endian, as on every machine that runs Xen. Decoding never reads outside what it was given:
 * what does not fit throws NetlinkError `malformed`.
 */
import { NetlinkError } from './netlink-error.ts'

export const NLM_F_REQUEST = 0x1
export const NLM_F_ACK = 0x4
export const NLM_F_CAPPED = 0x100
export const NLM_F_ACK_TLVS = 0x200
export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3

const HEADER_BYTES = 16
const GENERIC_HEADER_BYTES = 4
const ATTRIBUTE_HEADER_BYTES = 4
const NLA_F_NESTED = 0x8000
const NLA_TYPE_MASK = 0x3fff
const NLMSGERR_ATTR_MSG = 1

export type Attribute =
  | { readonly type: number; readonly u32: number }
  | { readonly type: number; readonly u64: bigint }
  | { readonly type: number; readonly text: string }
  | { readonly type: number; readonly nested: readonly Attribute[] }

export interface NetlinkMessage {
  readonly type: number
  readonly flags: number
  readonly sequence: number
  readonly payload: Uint8Array
}

export interface GenericMessage {
  readonly command: number
  readonly attributes: readonly RawAttribute[]
}

/** An attribute whose meaning the reader knows. */
export interface RawAttribute {
  readonly type: number
  readonly value: Uint8Array
}

/** What the kernel says at the end of a request; `errno` is positive, 0 for an acknowledgement. */
export interface Acknowledgement {
  readonly errno: number
  /** The kernel's own words, if it had any. */
  readonly sentence: string | undefined
}

export function encodeGeneric(message: {
  readonly family: number
  readonly flags: number
  readonly sequence: number
  readonly command: number
  readonly version: number
  readonly attributes: readonly Attribute[]
}): Uint8Array {
  const body = encodeAttributes(message.attributes)
  const bytes = new Uint8Array(HEADER_BYTES + GENERIC_HEADER_BYTES + body.byteLength)
  const view = viewOf(bytes)
  view.setUint32(0, bytes.byteLength, true)
  view.setUint16(4, message.family, true)
  view.setUint16(6, message.flags, true)
  view.setUint32(8, message.sequence, true)
  bytes[HEADER_BYTES] = message.command
  bytes[HEADER_BYTES + 1] = message.version
  bytes.set(body, HEADER_BYTES + GENERIC_HEADER_BYTES)
  return bytes
}

function encodeAttributes(attributes: readonly Attribute[]): Uint8Array {
  const encoded = attributes.map(encodeAttribute)
  const bytes = new Uint8Array(encoded.reduce((sum, one) => sum + one.byteLength, 0))
  let offset = 0
  for (const one of encoded) {
    bytes.set(one, offset)
    offset += one.byteLength
  }
  return bytes
}

function encodeAttribute(attribute: Attribute): Uint8Array {
  const value = encodeValue(attribute)
  const length = ATTRIBUTE_HEADER_BYTES + value.byteLength
  if (length > 0xffff) throw new RangeError(`netlink attribute of ${length} bytes is too long`)
  const bytes = new Uint8Array(align(length))
  const view = viewOf(bytes)
  view.setUint16(0, length, true)
  view.setUint16(2, attribute.type | ('nested' in attribute ? NLA_F_NESTED : 0), true)
  bytes.set(value, ATTRIBUTE_HEADER_BYTES)
  return bytes
}

function encodeValue(attribute: Attribute): Uint8Array {
  if ('nested' in attribute) return encodeAttributes(attribute.nested)
  if ('text' in attribute) {
    if (attribute.text.includes('\0')) throw new RangeError('netlink text has a NUL')
    return new TextEncoder().encode(`${attribute.text}\0`)
  }
  const bytes = new Uint8Array('u32' in attribute ? 4 : 8)
  if ('u32' in attribute) viewOf(bytes).setUint32(0, attribute.u32, true)
  else viewOf(bytes).setBigUint64(0, attribute.u64, true)
  return bytes
}

/** The messages of one datagram; payloads are views of it. */
export function decodeMessages(bytes: Uint8Array): NetlinkMessage[] {
  const view = viewOf(bytes)
  const messages: NetlinkMessage[] = []
  for (let offset = 0; offset < bytes.byteLength; ) {
    need(bytes, offset, HEADER_BYTES)
    const length = view.getUint32(offset, true)
    if (length < HEADER_BYTES) throw malformed(`a message of ${length} bytes`)
    need(bytes, offset, length)
    messages.push({
      type: view.getUint16(offset + 4, true),
      flags: view.getUint16(offset + 6, true),
      sequence: view.getUint32(offset + 8, true),
      payload: bytes.subarray(offset + HEADER_BYTES, offset + length),
    })
    offset += align(length)
  }
  return messages
}

export function decodeGeneric(payload: Uint8Array): GenericMessage {
  need(payload, 0, GENERIC_HEADER_BYTES)
  const attributes = decodeAttributes(payload.subarray(GENERIC_HEADER_BYTES))
  return { command: payload[0]!, attributes }
}

/** The attributes in `bytes`, in order; values are views of it. */
export function decodeAttributes(bytes: Uint8Array): RawAttribute[] {
  const view = viewOf(bytes)
  const attributes: RawAttribute[] = []
  for (let offset = 0; offset < bytes.byteLength; ) {
    need(bytes, offset, ATTRIBUTE_HEADER_BYTES)
    const length = view.getUint16(offset, true)
    if (length < ATTRIBUTE_HEADER_BYTES) throw malformed(`an attribute of ${length} bytes`)
    need(bytes, offset, length)
    const value = bytes.subarray(offset + ATTRIBUTE_HEADER_BYTES, offset + length)
    attributes.push({ type: view.getUint16(offset + 2, true) & NLA_TYPE_MASK, value })
    offset += align(length)
  }
  return attributes
}

/**
 * Payload of NLMSG_ERROR: the errno, the request it is about, and where flagged the kernel's words.
 */
export function decodeAcknowledgement({ payload, flags }: NetlinkMessage): Acknowledgement {
  need(payload, 0, 4 + HEADER_BYTES)
  const view = viewOf(payload)
  const errno = 0 - view.getInt32(0, true)
  if ((flags & NLM_F_ACK_TLVS) === 0) return { errno, sentence: undefined }
  // Unless capped, the whole request is repeated in front of the attributes.
  const request = (flags & NLM_F_CAPPED) === 0 ? view.getUint32(4, true) : HEADER_BYTES
  const start = 4 + align(Math.max(request, HEADER_BYTES))
  need(payload, start, 0)
  const sentence = decodeAttributes(payload.subarray(start)).find(
    ({ type }) => type === NLMSGERR_ATTR_MSG,
  )
  return { errno, sentence: sentence && textOf(sentence) }
}

export function u8Of(attribute: RawAttribute): number {
  need(attribute.value, 0, 1)
  return attribute.value[0]!
}

export function u16Of(attribute: RawAttribute): number {
  need(attribute.value, 0, 2)
  return viewOf(attribute.value).getUint16(0, true)
}

export function u32Of(attribute: RawAttribute): number {
  need(attribute.value, 0, 4)
  return viewOf(attribute.value).getUint32(0, true)
}

export function textOf({ value }: RawAttribute): string {
  const end = value.indexOf(0)
  return new TextDecoder().decode(end === -1 ? value : value.subarray(0, end))
}

function need(bytes: Uint8Array, offset: number, length: number): void {
  if (offset + length <= bytes.byteLength) return
  throw malformed(`${bytes.byteLength} bytes where ${offset + length} are needed`)
}

function malformed(what: string): NetlinkError {
  return new NetlinkError('decode', 'malformed', `the kernel sent ${what}`)
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const align = (length: number): number => (length + 3) & ~3
