/**
 * What a kernel's device-mapper does with the bytes of its ioctls, as far as the callers can see:
 * names, two table slots, suspend and resume, openers. For kernels that have none. It speaks bytes,
 * so the codec is under test as well.
 */
import type { DmControl } from '../../src/host/device-mapper.ts'

const EBUSY = -16
const EEXIST = -17
const EINVAL = -22
const ENXIO = -6
const HEADER = 312

interface Line {
  readonly start: bigint
  readonly length: bigint
  readonly kind: string
  readonly parameters: string
}

interface Device {
  readonly minor: number
  uuid: string
  live: Line[] | undefined
  loaded: Line[] | undefined
  isSuspended: boolean
  openCount: number
  isDeferred: boolean
}

export class FakeDeviceMapper implements DmControl {
  readonly devices = new Map<string, Device>()
  /** `command name flags`, in order. */
  readonly calls: string[] = []
  /** An errno for the next command of that number, once. */
  readonly failures = new Map<number, number>()
  /** Commands of that number are never answered. */
  readonly held = new Set<number>()
  #minors = 0

  close(): void {}

  async ioctl(request: number, bytes: Uint8Array): Promise<number> {
    const command = request & 0xff
    if (request >>> 0 !== (0xc138fd00 | command) >>> 0) return -25
    if (this.held.has(command)) return new Promise(() => {})
    const failure = this.failures.get(command)
    this.failures.delete(command)
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const name = textAt(buffer, 48)
    const flags = buffer.readUInt32LE(28)
    this.calls.push(`${command} ${name} ${flags}`.trim())
    if (buffer.readUInt32LE(12) !== buffer.byteLength) return EINVAL
    if (failure !== undefined) return this.#fail(command, name, failure)
    return this.#run(command, name, flags, buffer)
  }

  /** A resume that cannot swap leaves the device suspended. */
  #fail(command: number, name: string, failure: number): number {
    const device = this.devices.get(name)
    if (command === 6 && device !== undefined) device.isSuspended = true
    return failure
  }

  #run(command: number, name: string, flags: number, buffer: Buffer): number {
    buffer.writeUInt32LE(47, 4)
    if (command === 0) return 0
    if (command === 2) return this.#list(buffer)
    if (command === 3) {
      if (this.devices.has(name)) return EEXIST
      const uuid = textAt(buffer, 176)
      const minor = this.#minors++
      const slots = { live: undefined, loaded: undefined }
      const state = { isSuspended: true, openCount: 0, isDeferred: false }
      this.devices.set(name, { minor, uuid, ...slots, ...state })
    }
    const device = this.devices.get(name)
    if (device === undefined) return ENXIO
    const result = this.#act(command, name, device, flags, buffer)
    if (result === 0 && this.devices.has(name)) answer(buffer, device)
    return result
  }

  #act(command: number, name: string, device: Device, flags: number, buffer: Buffer): number {
    switch (command) {
      case 4:
        if (device.openCount > 0 && (flags & (1 << 17)) === 0) return EBUSY
        if (device.openCount > 0) device.isDeferred = true
        else this.devices.delete(name)
        return 0
      case 6:
        if ((flags & 2) !== 0) device.isSuspended = true
        else {
          device.live = device.loaded ?? device.live
          device.loaded = undefined
          device.isSuspended = false
        }
        return 0
      case 9:
        device.loaded = linesOf(buffer)
        return device.live?.[0]?.kind === 'multipath' && device.loaded[0]?.kind !== 'multipath'
          ? EINVAL
          : 0
      case 10:
        device.loaded = undefined
        return 0
      case 11:
        return putDependencies(buffer, device.live ?? [])
      case 12:
        return putLines(buffer, tableOf(device, flags), (flags & (1 << 4)) !== 0)
      default:
        return command === 3 || command === 7 ? 0 : EINVAL
    }
  }

  #list(buffer: Buffer): number {
    let offset = HEADER
    let previous = -1
    if (this.devices.size === 0) buffer.fill(0, offset, offset + 16)
    for (const [name, { minor }] of this.devices) {
      if (previous !== -1) buffer.writeUInt32LE(offset - previous, previous + 8)
      previous = offset
      buffer.writeBigUInt64LE(encodeNumbers(254, minor), offset)
      buffer.writeUInt32LE(0, offset + 8)
      buffer.write(`${name}\0`, offset + 12)
      offset += (12 + name.length + 1 + 7) & ~7
    }
    return 0
  }
}

export function encodeNumbers(major: number, minor: number): bigint {
  return BigInt(minor & 0xff) | (BigInt(major) << 8n) | (BigInt(minor & ~0xff) << 12n)
}

function answer(buffer: Buffer, device: Device): void {
  const own = buffer.readUInt32LE(28) & (1 << 8)
  const flags =
    (device.isSuspended ? 2 : 0) |
    (device.live === undefined ? 0 : 1 << 5) |
    (device.loaded === undefined ? 0 : 1 << 6) |
    (device.isDeferred ? 1 << 17 : 0)
  buffer.writeUInt32LE((flags | own) >>> 0, 28)
  buffer.writeInt32LE(device.openCount, 24)
  buffer.writeBigUInt64LE(encodeNumbers(254, device.minor), 40)
  buffer.write(`${device.uuid}\0`, 176)
}

function linesOf(buffer: Buffer): Line[] {
  const lines: Line[] = []
  let offset = buffer.readUInt32LE(16)
  for (let index = 0; index < buffer.readUInt32LE(20); index++) {
    lines.push({
      start: buffer.readBigUInt64LE(offset),
      length: buffer.readBigUInt64LE(offset + 8),
      kind: textAt(buffer, offset + 24),
      parameters: textAt(buffer, offset + 40),
    })
    offset += buffer.readUInt32LE(offset + 20)
  }
  return lines
}

/** The flag asks for the one that waits. */
function tableOf({ live, loaded }: Device, flags: number): readonly Line[] {
  return ((flags & (1 << 12)) === 0 ? live : loaded) ?? []
}

/** Of linear lines only, which is all that a fake has to know. */
function putDependencies(buffer: Buffer, lines: readonly Line[]): number {
  const below = lines.flatMap(({ kind, parameters }) => {
    const [major, minor] = parameters.split(/[: ]/).map(Number)
    return kind === 'linear' ? [encodeNumbers(major!, minor!)] : []
  })
  buffer.writeUInt32LE(below.length, HEADER)
  below.forEach((device, index) => {
    buffer.writeBigUInt64LE(device, HEADER + 8 + index * 8)
  })
  return 0
}

/** Here `next` counts from the first line; multipath answers with a blank at the end. */
function putLines(buffer: Buffer, lines: readonly Line[], isTable: boolean): number {
  let offset = HEADER
  buffer.writeUInt32LE(lines.length, 20)
  // Without a table the kernel answers with less than a whole header.
  if (lines.length === 0) buffer.writeUInt32LE(HEADER - 7, 12)
  for (const { start, length, kind, parameters } of lines) {
    const text = isTable ? parameters + (kind === 'multipath' ? ' ' : '') : ''
    const next = offset + ((40 + text.length + 1 + 7) & ~7)
    if (next > buffer.byteLength) {
      buffer.writeUInt32LE(1 << 8, 28)
      return 0
    }
    buffer.writeBigUInt64LE(start, offset)
    buffer.writeBigUInt64LE(length, offset + 8)
    buffer.writeUInt32LE(next - HEADER, offset + 20)
    buffer.write(`${kind}\0`, offset + 24)
    buffer.write(`${text}\0`, offset + 40)
    offset = next
  }
  return 0
}

function textAt(buffer: Buffer, offset: number): string {
  return buffer.toString('utf8', offset, buffer.indexOf(0, offset))
}
