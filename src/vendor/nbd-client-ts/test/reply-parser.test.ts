// ReplyParser on good transcripts, however they are cut, and on every rule a server can break.

import { describe, expect, test } from 'vitest'
import * as nbd from '../src/index.ts'
import { splitters, wire } from './support/handshake.ts'
import { Replies, request } from './support/replies.ts'

const CONTEXTS = [{ id: 7, name: 'base:allocation' }]

function parser(structuredReplies = true, contexts = CONTEXTS) {
  const replies: [number, nbd.Reply][] = []
  const parser = new nbd.ReplyParser({
    structuredReplies,
    contexts,
    onReply: ({ cookieLow }, reply) => replies.push([cookieLow, reply]),
  })
  return { parser, replies }
}

describe.each(splitters)('bytes %s', (_name, split) => {
  test('structured replies in any order and interleaved', () => {
    const { parser: it, replies } = parser()
    const first = request(1, nbd.NBD_CMD_READ, 0, 8)
    const second = request(2, nbd.NBD_CMD_READ, 100, 6)
    for (const each of [first, second]) it.expect(each)
    it.expect(request(3, nbd.NBD_CMD_BLOCK_STATUS, 0, 4096))
    it.expect(request(4, nbd.NBD_CMD_WRITE, 0, 8))
    it.expect(request(5, nbd.NBD_CMD_READ, 0, 4))
    const bytes = new Replies()
      .data(1, 4, 'efgh')
      .data(2, 100, 'xy')
      .hole(2, 102, 4, nbd.NBD_REPLY_FLAG_DONE)
      .blockStatus(3, 7, [
        [1024, 0],
        [8192, 3],
      ])
      .data(1, 0, 'abcd', nbd.NBD_REPLY_FLAG_DONE)
      .none(3)
      .simple(4, 0)
      .data(5, 0, 'ab')
      .errorOffset(5, nbd.NBD_EIO, 'bad sector', 2, nbd.NBD_REPLY_FLAG_DONE)
      .finish()
    for (const piece of split(bytes)) it.feed(piece)
    it.end()
    expect(replies.map(([cookie, { error }]) => [cookie, error])).toEqual([
      [2, 0],
      [1, 0],
      [3, 0],
      [4, 0],
      [5, nbd.NBD_EIO],
    ])
    expect(text(first)).toBe('abcdefgh')
    expect(text(second)).toBe('xy\0\0\0\0')
    expect(replies[2]?.[1].extents.get(7)).toEqual([
      { length: 1024, flags: 0 },
      { length: 8192, flags: 3 },
    ])
    expect(replies[4]?.[1]).toMatchObject({ message: 'bad sector', errorOffset: 2 })
  })

  test('simple replies with and without data', () => {
    const { parser: it, replies } = parser(false, [])
    const read = request(1, nbd.NBD_CMD_READ, 0, 4)
    it.expect(read)
    it.expect(request(2, nbd.NBD_CMD_READ, 0, 4))
    it.expect(request(3, nbd.NBD_CMD_FLUSH, 0, 0))
    const bytes = new Replies().simple(2, nbd.NBD_EIO).simple(1, 0, 'abcd').simple(3, 0).finish()
    for (const piece of split(bytes)) it.feed(piece)
    it.end()
    expect(replies.map(([cookie, { error }]) => [cookie, error])).toEqual([
      [2, nbd.NBD_EIO],
      [1, 0],
      [3, 0],
    ])
    expect(text(read)).toBe('abcd')
  })
})

const DONE = nbd.NBD_REPLY_FLAG_DONE
const READ = (flags = 0) => request(1, nbd.NBD_CMD_READ, 1000, 8, flags)
const WRITE = () => request(1, nbd.NBD_CMD_WRITE, 1000, 8)
const STATUS = (flags = 0) => request(1, nbd.NBD_CMD_BLOCK_STATUS, 1000, 4096, flags)
const replies = () => new Replies()

const broken: readonly (readonly [string, nbd.ReplyRequest, Replies])[] = [
  ['a magic that is none', READ(), replies().raw(wire([32, 0x12345678]))],
  ['a cookie nobody sent', READ(), replies().none(2)],
  ['a cookie whose high half is not ours', READ(), replies().raw(cookieFromNowhere())],
  ['a second reply to one request', WRITE(), replies().none(1).none(1)],
  ['a simple reply to a read', READ(), replies().simple(1, 0, 'abcdefgh')],
  ['a simple error to a read', READ(), replies().simple(1, nbd.NBD_EIO)],
  ['a simple success to block status', STATUS(), replies().simple(1, 0)],
  ['a simple reply after a chunk', WRITE(), replies().error(1, 5, '').simple(1, 0)],
  ['data for a write', WRITE(), replies().data(1, 1000, 'abcdefgh', DONE)],
  ['a hole for a write', WRITE(), replies().hole(1, 1000, 8, DONE)],
  ['extents for a read', READ(), replies().blockStatus(1, 7, [[8, 0]], DONE)],
  ['an unknown type', READ(), replies().chunk(1, 9, wire([8, 0]), DONE)],
  ['an extended block status', STATUS(), replies().chunk(1, 6, wire([64, 0]), DONE)],
  ['data before the range', READ(), replies().data(1, 999, 'a')],
  ['data beyond the range', READ(), replies().data(1, 1004, 'abcde')],
  ['data at an offset of 64 bits', READ(), replies().data(1, 2 ** 63, 'abcd')],
  ['more data than the range', READ(), replies().data(1, 1000, 'abcdefghi')],
  ['data without a byte', READ(), replies().data(1, 1000, '')],
  ['the same data twice', READ(), replies().data(1, 1000, 'abcd').data(1, 1003, 'x')],
  ['a hole over data', READ(), replies().data(1, 1004, 'abcd').hole(1, 1000, 5)],
  ['an empty hole', READ(), replies().hole(1, 1000, 0)],
  ['a hole beyond the range', READ(), replies().hole(1, 1000, 9)],
  ['missing data', READ(), replies().data(1, 1000, 'abcd', DONE)],
  ['no data at all', READ(), replies().none(1)],
  [
    'two content chunks with DF',
    READ(nbd.NBD_CMD_FLAG_DF),
    replies().data(1, 1000, 'abcd').data(1, 1004, 'efgh'),
  ],
  ['data after its error', READ(), replies().errorOffset(1, 5, '', 1002).data(1, 1000, 'abcd')],
  ['an error that is none', WRITE(), replies().error(1, 0, '', DONE)],
  ['an error offset outside', WRITE(), replies().errorOffset(1, 5, '', 1008)],
  [
    'an error message beyond its chunk',
    WRITE(),
    replies().chunk(1, nbd.NBD_REPLY_TYPE_ERROR, wire([32, 5], [16, 9], 'short')),
  ],
  [
    'an error chunk without its fields',
    WRITE(),
    replies().chunk(1, nbd.NBD_REPLY_TYPE_ERROR, wire([32, 5])),
  ],
  ['an error message that is too long', WRITE(), replies().error(1, 5, 'x'.repeat(4097))],
  ['an error chunk that is too long', WRITE(), replies().error(1, 5, 'x'.repeat(8000))],
  ['NONE with a payload', WRITE(), replies().chunk(1, nbd.NBD_REPLY_TYPE_NONE, wire([8, 0]), DONE)],
  ['NONE without DONE', WRITE(), replies().chunk(1, nbd.NBD_REPLY_TYPE_NONE, wire())],
  ['no extents', STATUS(), replies().none(1)],
  ['an empty list of extents', STATUS(), replies().blockStatus(1, 7, [])],
  ['half an extent', STATUS(), replies().chunk(1, 5, wire([32, 7], [32, 512], [32, 0], [32, 1]))],
  ['an unknown context', STATUS(), replies().blockStatus(1, 8, [[512, 0]])],
  [
    'a context twice',
    STATUS(),
    replies()
      .blockStatus(1, 7, [[512, 0]])
      .blockStatus(1, 7, [[512, 0]]),
  ],
  ['an extent without length', STATUS(), replies().blockStatus(1, 7, [[0, 0]])],
  [
    'an extent after the range',
    STATUS(),
    replies().blockStatus(1, 7, [
      [4096, 0],
      [1, 0],
    ]),
  ],
  [
    'two extents with REQ_ONE',
    STATUS(nbd.NBD_CMD_FLAG_REQ_ONE),
    replies().blockStatus(1, 7, [
      [1, 0],
      [1, 0],
    ]),
  ],
  [
    'a long extent with REQ_ONE',
    STATUS(nbd.NBD_CMD_FLAG_REQ_ONE),
    replies().blockStatus(1, 7, [[4097, 0]]),
  ],
  ['more extents than we take', STATUS(), replies().header(1, 0, 5, 4 + 8 * (2 ** 20 + 1))],
]

describe.each(splitters)('broken rules, bytes %s', (_name, split) => {
  test.each(broken)('%s', (_rule, sent, bytes) => {
    const { parser: it } = parser()
    it.expect(sent)
    const feedAll = () => {
      for (const piece of split(bytes.finish())) it.feed(piece)
    }
    expect(feedAll).toThrow(nbd.ProtocolError)
    expect(() => it.feed(Uint8Array.of(0))).toThrow(nbd.ProtocolError)
    expect(() => it.end()).toThrow(nbd.ProtocolError)
  })
})

test('a structured reply that was not negotiated breaks the rules', () => {
  const { parser: it } = parser(false, [])
  it.expect(WRITE())
  expect(() => it.feed(replies().none(1).finish())).toThrow('a simple reply')
})

test('the end of the stream before the end of the replies breaks the rules', () => {
  const { parser: it } = parser()
  it.end()
  it.expect(READ())
  it.feed(replies().data(1, 1000, 'abcdefgh').finish())
  expect(() => it.end()).toThrow('1 requests in flight')
})

test('an unknown error type fails its request and no other', () => {
  const { parser: it, replies: seen } = parser()
  it.expect(WRITE())
  const payload = wire([32, 28], [16, 4], 'full', [32, 99])
  it.feed(
    replies()
      .chunk(1, nbd.NBD_REPLY_TYPE_FLAG_ERROR + 77, payload, DONE)
      .finish(),
  )
  expect(seen).toMatchObject([[1, { error: 28, message: 'full' }]])
})

test('a context that is missing breaks the rules if another is there', () => {
  const { parser: it } = parser(true, [...CONTEXTS, { id: 8, name: 'x-test:dirty' }])
  it.expect(STATUS())
  expect(() =>
    it.feed(
      replies()
        .blockStatus(1, 7, [[512, 0]], DONE)
        .finish(),
    ),
  ).toThrow('contexts')
})

test('a read in more fragments than we track breaks the rules', () => {
  const { parser: it } = parser()
  it.expect(request(1, nbd.NBD_CMD_READ, 0, 65536))
  const feedAll = () => {
    for (let at = 0; at < 65536; at += 2) it.feed(replies().data(1, at, 'x').finish())
  }
  expect(feedAll).toThrow(`${nbd.READ_FRAGMENTS_MAX} fragments`)
})

test('a cookie may not be used twice at a time', () => {
  const { parser: it } = parser()
  it.expect(WRITE())
  expect(() => it.expect(WRITE())).toThrow(RangeError)
  it.feed(replies().none(1).finish())
  it.expect(WRITE())
})

function text({ destination }: nbd.ReplyRequest): string {
  return new TextDecoder().decode(destination)
}

function cookieFromNowhere(): Uint8Array {
  const bytes = new Uint8Array(nbd.SIMPLE_REPLY_SIZE)
  nbd.putSimpleReply(new DataView(bytes.buffer), 0, 0, 2 ** 31, 1)
  return bytes
}
