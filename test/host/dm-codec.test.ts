/** Golden bytes of device-mapper's ioctls, made by a C program from the kernel's header. */
import { describe, expect, test } from 'vitest'
import {
  DM_COMMANDS,
  DM_NOFLUSH_FLAG,
  DM_SKIP_LOCKFS_FLAG,
  type DmCommand,
  decodeDependencies,
  decodeDeviceList,
  decodeLines,
  decodeReply,
  encodeRequest,
  ioctlNumber,
} from '../../src/host/dm-codec.ts'
import { Random } from '../support/random.ts'
import { encodeNumbers } from './fake-device-mapper.ts'

/**
 * Two mappings for the device web1-xvda, up to where the zeroes of the header's texts begin and
 * end.
 */
const GOLDEN = {
  header:
    '040000000000000000000000a0010000380100000200000000000000000c0000' +
    '00002e00000000000000000000000000',
  name: '776562312d78766461',
  uuid: '424c4b46455252592d31',
  lines:
    '0000000000000000000800000000000000000000380000006c696e6561720000' +
    '00000000000000003235343a332033383400000000000000' +
    '00080000000000009a7856341200000000000000300000006572726f72000000' +
    '00000000000000000000000000000000',
}

const request = {
  name: 'web1-xvda',
  uuid: 'BLKFERRY-1',
  flags: DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG,
  eventNumber: 0x2e0000,
  lines: [
    { start: 0, length: 2048, kind: 'linear', parameters: '254:3 384' },
    { start: 2048, length: 0x123456789a, kind: 'error', parameters: '' },
  ],
}

describe('what is sent', () => {
  test('a table, byte for byte', () => {
    const hex = Buffer.from(encodeRequest(request)).toString('hex')
    expect(hex.slice(0, 96)).toBe(GOLDEN.header)
    expect(hex.slice(96, 352)).toBe(GOLDEN.name.padEnd(256, '0'))
    expect(hex.slice(352, 624)).toBe(GOLDEN.uuid.padEnd(272, '0'))
    expect(hex.slice(624)).toBe(GOLDEN.lines)
  })

  test('the request numbers', () => {
    const numbers = { tableLoad: 0xc138fd09, version: 0xc138fd00, deviceSuspend: 0xc138fd06 }
    for (const [command, number] of Object.entries(numbers)) {
      expect(ioctlNumber(command as DmCommand)).toBe(number)
    }
    expect(ioctlNumber('listDevices')).toBe(0xc138fd02)
    expect(new Set(Object.values(DM_COMMANDS)).size).toBe(Object.keys(DM_COMMANDS).length)
  })

  test('texts that do not fit are refused, not cut', () => {
    expect(() => encodeRequest({ name: 'x'.repeat(128) })).toThrow('under 128 bytes')
    expect(encodeRequest({ name: 'x'.repeat(127) })).toHaveLength(312)
    expect(() => encodeRequest({ uuid: 'x'.repeat(129) })).toThrow('under 129 bytes')
    expect(() => encodeRequest({ name: 'a\0b' })).toThrow('NUL')
    const line = { start: 0, length: 1, kind: 'k'.repeat(16), parameters: '' }
    expect(() => encodeRequest({ lines: [line] })).toThrow('under 16 bytes')
  })
})

describe('what is received', () => {
  /** An answer with this payload after the header. */
  function answer(payload: Uint8Array, lineCount = 0): Uint8Array {
    const bytes = encodeRequest({ name: 'web1', bufferBytes: 312 + payload.byteLength })
    bytes.set(payload, 312)
    new DataView(bytes.buffer).setUint32(20, lineCount, true)
    return bytes
  }

  test('device numbers beyond 8 bits', () => {
    const bytes = encodeRequest({ name: 'web1' })
    for (const [major, minor] of [
      [254, 0],
      [254, 255],
      [254, 256],
      [4095, 0xfffff],
    ] as const) {
      new DataView(bytes.buffer).setBigUint64(40, encodeNumbers(major, minor), true)
      expect(decodeReply(bytes)).toMatchObject({ major, minor, name: 'web1' })
    }
  })

  test('dependencies', () => {
    const payload = new BigUint64Array([2n, encodeNumbers(8, 17), encodeNumbers(254, 300)])
    const bytes = answer(new Uint8Array(payload.buffer))
    expect(decodeDependencies(bytes)).toEqual(['8:17', '254:300'])
    new DataView(bytes.buffer).setUint32(312, 3, true)
    expect(() => decodeDependencies(bytes)).toThrow('are needed')
  })

  test('no devices at all', () => {
    expect(decodeDeviceList(answer(new Uint8Array(16)))).toEqual([])
  })

  test('lines count from the first one, and must advance', () => {
    const payload = Buffer.alloc(96)
    payload.write('linear', 24)
    payload.write('8:0 0', 40)
    payload.writeUInt32LE(48, 20)
    payload.write('error', 48 + 24)
    payload.writeUInt32LE(96, 48 + 20)
    const bytes = answer(payload, 2)
    expect(decodeLines(bytes).map(({ kind, parameters }) => [kind, parameters])).toEqual([
      ['linear', '8:0 0'],
      ['error', ''],
    ])
    new DataView(bytes.buffer).setUint32(312 + 20, 0, true)
    expect(() => decodeLines(bytes)).toThrow('advance')
  })

  test('damaged answers give a value or a range error, and end', () => {
    const random = new Random(11)
    for (let round = 0; round < 3000; round++) {
      const bytes = encodeRequest(request)
      for (let flips = 1 + random.below(4); flips > 0; flips--) {
        const at = random.below(2) === 0 ? 12 + random.below(20) : 312 + random.below(104)
        bytes[at] = random.below(256)
      }
      for (const decode of [decodeLines, decodeDependencies, decodeDeviceList, decodeReply]) {
        try {
          decode(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
        }
      }
    }
  })
})
