/** Framing does not depend on how the bytes were cut, and nothing but plain values gets through. */
import { describe, expect, test } from 'vitest'
import { ControlError } from '../../src/control/control-error.ts'
import { encodeFrame, FRAME_BYTES_MAX, FrameDecoder } from '../../src/control/framing.ts'
import { NESTING_MAX, VALUES_MAX } from '../../src/control/plain.ts'
import { mirrorSample, serveSample } from './samples.ts'

const messages = [
  { version: 1, id: 1, verb: 'status', params: {} },
  { version: 1, id: 2, result: { ...serveSample, mirror: mirrorSample } },
  { text: 'ä'.repeat(300), list: [1, -1, 1.5, -70000, 2 ** 31, 2 ** 40, null, true, false] },
  { long: 'x'.repeat(60_000), nested: { a: { b: ['c'] } } },
]
const stream = Buffer.concat(messages.map(encodeFrame))

function feed(bytes: Buffer, size: () => number): unknown[] {
  const decoder = new FrameDecoder()
  const received: unknown[] = []
  for (let offset = 0; offset < bytes.length; ) {
    const end = Math.min(bytes.length, offset + size())
    received.push(...decoder.feed(bytes.subarray(offset, end)))
    offset = end
  }
  expect(decoder.isInsideFrame).toBe(false)
  return received
}

/** A frame around raw bytes in hex. */
function frame(hex: string): Buffer {
  const document = Buffer.from(hex.replaceAll(' ', ''), 'hex')
  const header = Buffer.alloc(4)
  header.writeUInt32BE(document.length)
  return Buffer.concat([header, document])
}

function refusal(bytes: Buffer): string {
  try {
    new FrameDecoder().feed(bytes)
  } catch (error) {
    expect(error).toBeInstanceOf(ControlError)
    expect((error as ControlError).code).toBe('malformed')
    return (error as ControlError).message
  }
  throw new Error('was accepted')
}

describe('chunking', () => {
  test('whole, byte by byte and at every fixed size, the messages are the same', () => {
    expect(feed(stream, () => stream.length)).toEqual(messages)
    for (const size of [1, 2, 3, 4, 5, 7, 64, 4096])
      expect(feed(stream, () => size)).toEqual(messages)
  })

  test('cut at random, the messages are the same', () => {
    let seed = 1
    const random = (): number => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
      return seed
    }
    for (let round = 0; round < 50; round += 1) {
      expect(feed(stream, () => 1 + (random() % 2000))).toEqual(messages)
    }
  })

  test('a frame that has begun shows', () => {
    const decoder = new FrameDecoder()
    expect(decoder.isInsideFrame).toBe(false)
    expect(decoder.feed(stream.subarray(0, 1))).toEqual([])
    expect(decoder.isInsideFrame).toBe(true)
  })

  test('a chunk may be overwritten once it was fed', () => {
    const decoder = new FrameDecoder()
    const bytes = encodeFrame({ text: 'kept' })
    const first = Buffer.from(bytes.subarray(0, 8))
    decoder.feed(first)
    first.fill(0)
    expect(decoder.feed(bytes.subarray(8))).toEqual([{ text: 'kept' }])
  })
})

describe('limits', () => {
  test('a length over the limit is refused before its bytes come', () => {
    const header = Buffer.alloc(4)
    header.writeUInt32BE(FRAME_BYTES_MAX + 1)
    expect(refusal(header)).toContain(`limit of ${FRAME_BYTES_MAX}`)
    expect(refusal(Buffer.from('GET / HTTP/1.1\r\n'))).toContain('over the limit')
  })

  test('a message over the limit is not sent either', () => {
    expect(() => encodeFrame({ text: 'x'.repeat(FRAME_BYTES_MAX) })).toThrow(ControlError)
  })

  test('an empty frame is refused', () => {
    expect(refusal(frame(''))).toContain('empty')
  })

  test('values and nesting are bounded', () => {
    expect(refusal(encodeFrame(Array(VALUES_MAX).fill(0)))).toContain('values')
    expect(refusal(frame(`${'91'.repeat(NESTING_MAX + 1)}c0`))).toContain('nested')
    expect(new FrameDecoder().feed(frame(`${'91'.repeat(NESTING_MAX)}c0`))).toHaveLength(1)
  })
})

describe('documents', () => {
  test.each([
    ['an array of four thousand million', 'dd ffffffff', 'cut short'],
    ['a map of four thousand million', 'df ffffffff', 'cut short'],
    ['a text longer than the frame', 'db ffffffff 61', 'cut short'],
    ['a number cut short', 'cb 0000', 'cut short'],
    ['a timestamp', 'd6ff 00000000', 'not a plain value'],
    ['a record definition', 'd4 72 40', 'not a plain value'],
    ['an extension with a length', 'c7 01 65 0a', 'not a plain value'],
    ['binary', 'c4 01 00', 'not a plain value'],
    ['the reserved byte', 'c1', 'not a plain value'],
    ['a numeric key', '81 01 c0', 'key at byte 1'],
    ['an array as key', '81 90 c0', 'key at byte 1'],
    ['two documents', 'c0 c0', '1 bytes after'],
  ])('%s is refused', (_name, hex, why) => {
    expect(refusal(frame(hex))).toContain(why)
  })

  test('a key named __proto__ does not reach the prototype', () => {
    const [message] = new FrameDecoder().feed(frame('81 a9 5f5f70726f746f5f5f 81 a1 78 01'))
    expect(Object.getPrototypeOf(message)).toBe(Object.prototype)
    expect((message as { x?: number }).x).toBeUndefined()
  })

  test('integers of 64 bits are numbers', () => {
    expect(new FrameDecoder().feed(frame('cf 0000010000000000'))).toEqual([2 ** 40])
    expect(new FrameDecoder().feed(frame('d3 fffffeffffffffff'))).toEqual([-(2 ** 40) - 1])
  })

  test('cut or changed at any byte, a message is decoded or refused, never anything else', () => {
    const bytes = encodeFrame(messages[1]!)
    for (let at = 4; at < bytes.length; at += 1) {
      for (const value of [0x00, 0xc1, 0xc7, 0xd4, 0xdd, 0xdf, 0xff]) {
        const changed = Buffer.from(bytes)
        changed[at] = value
        try {
          new FrameDecoder().feed(changed)
        } catch (error) {
          expect(error).toBeInstanceOf(ControlError)
        }
      }
    }
  })
})
