/**
 * The bytes of device-mapper ioctls (linux/dm-ioctl.h, interface version 4): a struct dm_ioctl of
 * 312 bytes, followed by what the command carries. Pure: takes and returns values, makes no call.
 * Little-endian, as on every machine that runs Xen. Answers come from the kernel and are trusted to
 * mean well, not to be well-formed: a length that leads outside the buffer throws.
 */
import type { TableLine } from './dm-table.ts'

export const DM_HEADER_BYTES = 312
const SPEC_BYTES = 40
const NAME_BYTES = 128
const UUID_BYTES = 129
const KIND_BYTES = 16

/** Numbers of the commands. */
export const DM_COMMANDS = {
  version: 0,
  listDevices: 2,
  deviceCreate: 3,
  deviceRemove: 4,
  deviceSuspend: 6,
  deviceStatus: 7,
  tableLoad: 9,
  tableClear: 10,
  tableDependencies: 11,
  tableStatus: 12,
} as const
export type DmCommand = keyof typeof DM_COMMANDS

export const DM_READONLY_FLAG = 1 << 0
export const DM_SUSPEND_FLAG = 1 << 1
export const DM_STATUS_TABLE_FLAG = 1 << 4
export const DM_ACTIVE_PRESENT_FLAG = 1 << 5
export const DM_INACTIVE_PRESENT_FLAG = 1 << 6
export const DM_BUFFER_FULL_FLAG = 1 << 8
export const DM_SKIP_LOCKFS_FLAG = 1 << 10
export const DM_NOFLUSH_FLAG = 1 << 11
export const DM_QUERY_INACTIVE_TABLE_FLAG = 1 << 12
export const DM_DEFERRED_REMOVE = 1 << 17

export interface DmRequest {
  readonly name?: string
  readonly uuid?: string
  readonly flags?: number
  /** What a uevent of this command carries for udev: flags in the upper half, no cookie. */
  readonly eventNumber?: number
  readonly lines?: readonly TableLine[]
  /** Room for the answer; at least the header. */
  readonly bufferBytes?: number
}

export interface DmReply {
  readonly version: readonly [number, number, number]
  readonly flags: number
  readonly openCount: number
  readonly lineCount: number
  readonly major: number
  readonly minor: number
  readonly name: string
  readonly uuid: string
}

/** The request number of ioctl(2): _IOWR(0xfd, number, struct dm_ioctl). */
export function ioctlNumber(command: DmCommand): number {
  return 0xc0000000 + DM_HEADER_BYTES * 0x10000 + 0xfd00 + DM_COMMANDS[command]
}

export function encodeRequest(request: DmRequest): Uint8Array {
  const { name = '', uuid = '', flags = 0, eventNumber = 0, lines = [] } = request
  const encoded = lines.map(encodeLine)
  const used = encoded.reduce((sum, line) => sum + line.byteLength, DM_HEADER_BYTES)
  const bytes = new Uint8Array(Math.max(used, request.bufferBytes ?? 0))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, 4, true)
  view.setUint32(12, bytes.byteLength, true)
  view.setUint32(16, DM_HEADER_BYTES, true)
  view.setUint32(20, lines.length, true)
  view.setUint32(28, flags, true)
  view.setUint32(32, eventNumber, true)
  putText(bytes, 48, NAME_BYTES, name, 'name')
  putText(bytes, 48 + NAME_BYTES, UUID_BYTES, uuid, 'uuid')
  let offset = DM_HEADER_BYTES
  for (const line of encoded) {
    bytes.set(line, offset)
    offset += line.byteLength
  }
  return bytes
}

/** struct dm_target_spec, then the parameters as a C string, padded to 8 bytes. */
function encodeLine({ start, length, kind, parameters }: TableLine): Uint8Array {
  const text = new TextEncoder().encode(parameters)
  if (text.includes(0)) throw new RangeError('a mapping has a NUL in its parameters')
  const bytes = new Uint8Array(align(SPEC_BYTES + text.byteLength + 1))
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(start), true)
  view.setBigUint64(8, BigInt(length), true)
  view.setUint32(20, bytes.byteLength, true)
  putText(bytes, 24, KIND_BYTES, kind, 'kind of mapping')
  bytes.set(text, SPEC_BYTES)
  return bytes
}

export function decodeReply(bytes: Uint8Array): DmReply {
  const view = viewOf(bytes)
  need(bytes, 0, DM_HEADER_BYTES)
  const device = view.getBigUint64(40, true)
  return {
    version: [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)],
    flags: view.getUint32(28, true),
    openCount: view.getInt32(24, true),
    lineCount: view.getUint32(20, true),
    ...numbersOf(device),
    name: takeText(bytes, 48, NAME_BYTES),
    uuid: takeText(bytes, 48 + NAME_BYTES, UUID_BYTES),
  }
}

/** The lines of a table status; `next` counts from the first line here, unlike when loading. */
export function decodeLines(bytes: Uint8Array): TableLine[] {
  const { lineCount } = decodeReply(bytes)
  // Then there is no payload either, and its place is behind the end.
  if (lineCount === 0) return []
  const view = viewOf(bytes)
  const { start: base, end } = payloadOf(bytes)
  const lines: TableLine[] = []
  let offset = base
  for (let index = 0; index < lineCount; index++) {
    need(bytes, offset, SPEC_BYTES, end)
    lines.push({
      start: Number(view.getBigUint64(offset, true)),
      length: Number(view.getBigUint64(offset + 8, true)),
      kind: takeText(bytes, offset + 24, KIND_BYTES),
      parameters: takeText(bytes, offset + SPEC_BYTES, end - offset - SPEC_BYTES),
    })
    const next = base + view.getUint32(offset + 20, true)
    if (next <= offset)
      throw new RangeError('device-mapper answered with lines that do not advance')
    offset = next
  }
  return lines
}

/** `major:minor` of each device that the table stands on. */
export function decodeDependencies(bytes: Uint8Array): string[] {
  const view = viewOf(bytes)
  const { start, end } = payloadOf(bytes)
  need(bytes, start, 8, end)
  const count = view.getUint32(start, true)
  need(bytes, start + 8, count * 8, end)
  return Array.from({ length: count }, (_, index) => {
    const { major, minor } = numbersOf(view.getBigUint64(start + 8 + index * 8, true))
    return `${major}:${minor}`
  })
}

export interface DmListedDevice {
  readonly name: string
  readonly major: number
  readonly minor: number
}

export function decodeDeviceList(bytes: Uint8Array): DmListedDevice[] {
  const view = viewOf(bytes)
  const { start, end } = payloadOf(bytes)
  const devices: DmListedDevice[] = []
  for (let offset = start; ; ) {
    need(bytes, offset, 12, end)
    const device = view.getBigUint64(offset, true)
    // A list without devices is one entry with the number 0.
    if (device === 0n && devices.length === 0) return devices
    devices.push({ ...numbersOf(device), name: takeText(bytes, offset + 12, end - offset - 12) })
    const next = view.getUint32(offset + 8, true)
    if (next === 0) return devices
    offset += next
  }
}

/** The kernel's huge_encode_dev: 12 low bits of the major above 8 low bits of the minor. */
function numbersOf(device: bigint): { major: number; minor: number } {
  const major = Number((device >> 8n) & 0xfffn)
  const minor = Number((device & 0xffn) | ((device >> 12n) & 0xfff00n))
  return { major, minor }
}

function payloadOf(bytes: Uint8Array): { start: number; end: number } {
  need(bytes, 0, DM_HEADER_BYTES)
  const view = viewOf(bytes)
  const end = Math.min(view.getUint32(12, true), bytes.byteLength)
  const start = view.getUint32(16, true)
  if (start < DM_HEADER_BYTES - 7 || start > end) {
    throw new RangeError(`device-mapper answered with its payload at ${start} of ${end} bytes`)
  }
  return { start, end }
}

function need(bytes: Uint8Array, offset: number, length: number, end = bytes.byteLength): void {
  if (offset + length > end) {
    throw new RangeError(`device-mapper answered ${end} bytes where ${offset + length} are needed`)
  }
}

function putText(
  bytes: Uint8Array,
  offset: number,
  room: number,
  text: string,
  what: string,
): void {
  const encoded = new TextEncoder().encode(text)
  if (encoded.byteLength >= room || encoded.includes(0)) {
    throw new RangeError(`${what} ${JSON.stringify(text)} must be under ${room} bytes, without NUL`)
  }
  bytes.set(encoded, offset)
}

function takeText(bytes: Uint8Array, offset: number, room: number): string {
  const field = bytes.subarray(offset, offset + room)
  const end = field.indexOf(0)
  if (end === -1) throw new RangeError('device-mapper answered with a text that does not end')
  return new TextDecoder().decode(field.subarray(0, end))
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
const align = (length: number): number => (length + 7) & ~7
