// The allocation-free codec, byte for byte.

import { describe, expect, test } from 'vitest'
import {
  EXTENT_LENGTH_MAX,
  getU64,
  getU64OrMinusOne,
  isRequestMagic,
  isSimpleReplyMagic,
  isStructuredReplyMagic,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_WRITE,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_NONE,
  ProtocolError,
  putBlockStatus,
  putErrorChunk,
  putExtent,
  putOffsetData,
  putOffsetHole,
  putRequest,
  putSimpleReply,
  putStructuredReply,
  putU64,
} from '../src/index.ts'

const AT = 3

function written(size: number, put: (view: DataView) => void): string {
  const bytes = new Uint8Array(AT + size + 2).fill(0xee)
  put(new DataView(bytes.buffer))
  expect([...bytes.subarray(0, AT), ...bytes.subarray(AT + size)]).toEqual(Array(AT + 2).fill(0xee))
  return Buffer.from(bytes.subarray(AT, AT + size)).toString('hex')
}

describe('headers have the bytes of the specification', () => {
  test('request', () => {
    const hex = written(28, view =>
      putRequest(view, AT, NBD_CMD_FLAG_FUA, NBD_CMD_WRITE, 0xa1a2a3a4, 0xb1b2b3b4, 2 ** 40 + 5, 9),
    )
    expect(hex).toBe('2560951300010001a1a2a3a4b1b2b3b4000001000000000500000009')
  })

  test('simple reply', () => {
    const hex = written(16, view => putSimpleReply(view, AT, 5, 0xffffffff, 1))
    expect(hex).toBe('6744669800000005ffffffff00000001')
  })

  test('structured reply', () => {
    const hex = written(20, view =>
      putStructuredReply(view, AT, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, 1, 2, 0),
    )
    expect(hex).toBe('668e33ef00010000000000010000000200000000')
  })

  test('data, hole, error and block status chunks', () => {
    expect(written(28, view => putOffsetData(view, AT, 1, 0, 2, 512, 4))).toBe(
      '668e33ef0001000100000000000000020000000c0000000000000200',
    )
    expect(written(32, view => putOffsetHole(view, AT, 0, 0, 2, 512, 4))).toBe(
      '668e33ef0000000200000000000000020000000c000000000000020000000004',
    )
    expect(written(26, view => putErrorChunk(view, AT, 1, 0, 2, 28))).toBe(
      '668e33ef000180010000000000000002000000060000001c0000',
    )
    expect(written(24, view => putBlockStatus(view, AT, 1, 0, 2, 7, 3))).toBe(
      '668e33ef000100050000000000000002' + '0000001c' + '00000007',
    )
    expect(written(8, view => putExtent(view, AT, 4096, 3))).toBe('0000100000000003')
  })
})

describe('unsigned 64 bit values', () => {
  const view = new DataView(new ArrayBuffer(8))

  test.each([0, 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 1, Number.MAX_SAFE_INTEGER])(
    '%d survives',
    value => {
      putU64(view, 0, value)
      expect(view.getBigUint64(0)).toBe(BigInt(value))
      expect(getU64(view, 0)).toBe(value)
      expect(getU64OrMinusOne(view, 0)).toBe(value)
    },
  )

  test.each([2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])('%d is not for a number', value => {
    view.setBigUint64(0, value)
    expect(() => getU64(view, 0)).toThrow(ProtocolError)
    expect(getU64OrMinusOne(view, 0)).toBe(-1)
  })
})

test('magics are told apart', () => {
  const view = new DataView(new ArrayBuffer(28))
  const seen = (): boolean[] => [
    isRequestMagic(view, 0),
    isSimpleReplyMagic(view, 0),
    isStructuredReplyMagic(view, 0),
  ]
  expect(seen()).toEqual([false, false, false])
  putRequest(view, 0, 0, 0, 0, 0, 0, 0)
  expect(seen()).toEqual([true, false, false])
  putSimpleReply(view, 0, 0, 0, 0)
  expect(seen()).toEqual([false, true, false])
  putStructuredReply(view, 0, 0, 0, 0, 0, 0)
  expect(seen()).toEqual([false, false, true])
})

test('an extent that its field cannot hold is cut, and the caller learns where', () => {
  const view = new DataView(new ArrayBuffer(8))
  expect(putExtent(view, 0, 2 ** 40, 0)).toBe(EXTENT_LENGTH_MAX)
  expect(view.getUint32(0)).toBe(EXTENT_LENGTH_MAX)
})
