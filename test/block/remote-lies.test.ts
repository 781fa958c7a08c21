/** What a server may not say: each lie ends the connection, and every request with ESHUTDOWN. */
import {
  NBD_REPLY_FLAG_DONE as DONE,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from 'nbd-client-ts'
import { describe, expect, it } from 'vitest'
import { ESHUTDOWN } from '../../src/block/errno.ts'
import { Extents } from '../../src/block/extents.ts'
import type { Request } from '../../src/block/request.ts'
import { ENGINE_NAMES, type EngineName } from '../../src/io/engine.ts'
import { openRemotePair } from '../support/remote-pair.ts'
import { createRequest, perform } from '../support/requests.ts'
import {
  chunk,
  dataChunk,
  errorChunk,
  type SeenRequest,
  simpleReply,
  words,
} from '../support/scripted-server.ts'

const CONTEXT = 7
const OFFSET = 8192
const LENGTH = 4096
const data = (length: number): Buffer => Buffer.alloc(length, 0xdd)
const none = Buffer.alloc(0)

interface Lie {
  readonly name: string
  readonly structured: boolean
  readonly command: number
  readonly flags?: number
  /** What the server answers. */
  readonly say: (request: SeenRequest) => Buffer
  /** What the reason mentions. */
  readonly reason: RegExp
}

const plain = (name: string, say: Lie['say'], reason: RegExp): Lie => {
  return { name, structured: false, command: NBD_CMD_READ, say, reason }
}
const read = (name: string, say: Lie['say'], reason: RegExp): Lie => {
  return { name, structured: true, command: NBD_CMD_READ, say, reason }
}
const status = (name: string, say: Lie['say'], reason: RegExp, flags = 0): Lie => {
  return { name, structured: true, command: NBD_CMD_BLOCK_STATUS, flags, say, reason }
}
const extents = (request: SeenRequest, ...values: number[]): Buffer =>
  chunk(request, DONE, NBD_REPLY_TYPE_BLOCK_STATUS, words(...values))

const LIES: readonly Lie[] = [
  plain('a bad magic', () => Buffer.alloc(64, 0x11), /magic/),
  plain(
    'a structured reply that was not agreed',
    r => dataChunk(r, DONE, OFFSET, data(LENGTH)),
    /magic/,
  ),
  plain('a cookie out of range', r => simpleReply({ ...r, cookieLow: 99999 }), /cookie/),
  plain(
    'the cookie of a place not in use',
    r => simpleReply({ ...r, cookieLow: r.cookieLow + 5 }),
    /cookie/,
  ),
  plain(
    'the cookie of an earlier use',
    r => simpleReply({ ...r, cookieHigh: r.cookieHigh - 1 }),
    /cookie/,
  ),
  read(
    'a simple reply to a read',
    r => Buffer.concat([simpleReply(r), data(LENGTH)]),
    /structured/,
  ),
  read('more data than was asked for', r => dataChunk(r, DONE, OFFSET, data(LENGTH + 1)), /type 1/),
  read('data before the range', r => dataChunk(r, DONE, OFFSET - 1, data(1)), /content/),
  read('data behind the range', r => dataChunk(r, DONE, OFFSET + LENGTH - 1, data(2)), /content/),
  read(
    'an offset beyond all numbers',
    r => chunk(r, DONE, NBD_REPLY_TYPE_OFFSET_DATA, Buffer.alloc(9, 0xff)),
    /2\^53/,
  ),
  read(
    'a data chunk without data',
    r => chunk(r, DONE, NBD_REPLY_TYPE_OFFSET_DATA, Buffer.alloc(8)),
    /type 1/,
  ),
  read(
    'a byte twice',
    r =>
      Buffer.concat([dataChunk(r, 0, OFFSET, data(512)), dataChunk(r, 0, OFFSET + 511, data(512))]),
    /once/,
  ),
  read(
    'less data than was asked for',
    r => dataChunk(r, DONE, OFFSET, data(LENGTH - 1)),
    /4096 bytes/,
  ),
  read('success without data', r => chunk(r, DONE, NBD_REPLY_TYPE_NONE, none), /4096 bytes/),
  read(
    'a hole of another length',
    r => chunk(r, DONE, NBD_REPLY_TYPE_OFFSET_HOLE, Buffer.alloc(11)),
    /type 2/,
  ),
  read(
    'a hole outside the range',
    r => chunk(r, DONE, NBD_REPLY_TYPE_OFFSET_HOLE, words(0, 0, LENGTH)),
    /content/,
  ),
  read('an empty chunk that is not the last', r => chunk(r, 0, NBD_REPLY_TYPE_NONE, none), /DONE/),
  read(
    'an empty chunk with a payload',
    r => chunk(r, DONE, NBD_REPLY_TYPE_NONE, words(1)),
    /type 0/,
  ),
  read('an error chunk without an error', r => errorChunk(r, DONE, 0), /error/),
  read(
    'an error chunk that is too short',
    r => chunk(r, DONE, NBD_REPLY_TYPE_ERROR, words(5)),
    /type 32769/,
  ),
  read(
    'an error chunk that is too long',
    r => chunk(r, DONE, NBD_REPLY_TYPE_ERROR, Buffer.alloc(8192, 1)),
    /type 32769/,
  ),
  read(
    'a message that leaves its chunk',
    r => chunk(r, DONE, NBD_REPLY_TYPE_ERROR, Buffer.from([0, 0, 0, 5, 0, 9])),
    /message/,
  ),
  read(
    'an error outside the range',
    r => chunk(r, DONE, NBD_REPLY_TYPE_ERROR_OFFSET, Buffer.concat([words(5), Buffer.alloc(10)])),
    /offset/,
  ),
  read('extents for a read', r => extents(r, CONTEXT, LENGTH, 0), /command/),
  read('an unknown kind of chunk', r => chunk(r, DONE, 1234, none), /1234/),
  read(
    'a second reply to the same request',
    r =>
      Buffer.concat([
        dataChunk(r, DONE, OFFSET, data(LENGTH)),
        dataChunk(r, DONE, OFFSET, data(LENGTH)),
      ]),
    /cookie/,
  ),
  status('another context', r => extents(r, CONTEXT + 1, LENGTH, 0), /context/),
  status('an extent of no length', r => extents(r, CONTEXT, 0, 0), /length=0/),
  status('no extents', r => extents(r, CONTEXT), /type 5/),
  status('part of an extent', r => extents(r, CONTEXT, LENGTH, 0, 1), /whole/),
  status(
    'extents beyond the last that counts',
    r => extents(r, CONTEXT, LENGTH, 0, LENGTH, 0),
    /after/,
  ),
  status('success without extents', r => chunk(r, DONE, NBD_REPLY_TYPE_NONE, none), /extents/),
  status(
    'two extents when asked for one',
    r => extents(r, CONTEXT, 512, 0, 512, 1),
    /REQ_ONE/,
    NBD_CMD_FLAG_REQ_ONE,
  ),
  status('a simple success', r => simpleReply(r), /extents/),
]

function requestFor(
  { command, flags = 0 }: Lie,
  source: { acquire(length: number): Request['memory'] },
): Request {
  const memory = source.acquire(LENGTH)
  const fields = { command, flags, offset: OFFSET, length: LENGTH, extents: new Extents() }
  return Object.assign(createRequest(fields), { memory })
}

async function expectLost(engine: EngineName, lie: Lie): Promise<void> {
  await using pair = openRemotePair(engine, {
    structuredReplies: lie.structured,
    contextId: lie.structured ? CONTEXT : undefined,
  })
  const victim = requestFor(lie, pair.source)
  const other = createRequest({ command: NBD_CMD_FLUSH })
  const outcomes = Promise.all([perform(pair.device, victim), perform(pair.device, other)])
  pair.server.say(lie.say(await pair.server.request()))
  const [first, second] = await outcomes
  await pair.lost
  // A second reply finds its request answered well.
  expect(first).toBe(lie.name.startsWith('a second reply') ? 0 : ESHUTDOWN)
  expect(second).toBe(ESHUTDOWN)
  expect(pair.reasons).toHaveLength(1)
  expect(pair.reasons[0]).toMatch(lie.reason)
  expect(await perform(pair.device, createRequest({ command: NBD_CMD_FLUSH }))).toBe(ESHUTDOWN)
  pair.source.release(victim.memory!)
}

describe.each(ENGINE_NAMES)('%s: a server that says', engine => {
  it.each(LIES)('$name is given up', lie => expectLost(engine, lie))
})
