/** What only the remote device does, against a server that the test plays. */

import { setTimeout as sleep } from 'node:timers/promises'
import {
  NBD_REPLY_FLAG_DONE as DONE,
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from 'nbd-client-ts'
import { describe, expect, it } from 'vitest'
import { EINVAL, EIO, ENOSPC, ENOTSUP, EPERM, ESHUTDOWN } from '../../src/block/errno.ts'
import { EXTENTS_MAX, Extents } from '../../src/block/extents.ts'
import { REMOTE_IN_FLIGHT_MAX } from '../../src/block/remote.ts'
import type { Request } from '../../src/block/request.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { expectBytes } from '../support/bytes.ts'
import { MAPPED_MEMORY } from '../support/mapped-memory.ts'
import { Random } from '../support/random.ts'
import { openRemotePair, type RemotePair } from '../support/remote-pair.ts'
import { createRequest, perform, start } from '../support/requests.ts'
import { chunk, dataChunk, errorChunk, simpleReply, words } from '../support/scripted-server.ts'

const random = new Random(6)
const flush = (): Request => createRequest({ command: NBD_CMD_FLUSH })
const transfer = (command: number, length: number, offset = 0): Request =>
  createRequest({ command, offset, length, memory: MAPPED_MEMORY.acquire(length) })

/** The first `count` requests that the server sees. */
async function seen({ server }: RemotePair, count: number) {
  await server.request(count - 1)
  return server.requests
}

describe.each(ENGINE_NAMES)('%s', engine => {
  it('has many requests under way and takes replies in any order', async () => {
    await using pair = openRemotePair(engine)
    const watched = Array.from({ length: 10 }, () => start(pair.device, flush()))
    const requests = await seen(pair, 10)
    for (const index of [7, 2, 9]) pair.server.say(simpleReply(requests[index]!))
    const last = perform(pair.device, flush())
    pair.server.say(simpleReply(await pair.server.request(10)))
    expect(await last).toBe(0)
    const done = watched.flatMap(({ outcome }, index) => (outcome === 0 ? [index] : []))
    expect(done).toEqual([2, 7, 9])
  })

  it('keeps to its limit of requests under way, and sends the rest as replies come', async () => {
    await using pair = openRemotePair(engine)
    const all = Array.from({ length: REMOTE_IN_FLIGHT_MAX + 3 }, () =>
      perform(pair.device, flush()),
    )
    const requests = await seen(pair, REMOTE_IN_FLIGHT_MAX)
    expect(pair.device.inFlight).toBe(REMOTE_IN_FLIGHT_MAX)
    expect(requests).toHaveLength(REMOTE_IN_FLIGHT_MAX)
    for (let i = 0; i < all.length; i++) pair.server.say(simpleReply(await pair.server.request(i)))
    expect(await Promise.all(all)).toEqual(new Array(all.length).fill(0))
  })

  it('splits a write into what the server allows, and fails it if a piece fails', async () => {
    await using pair = openRemotePair(engine)
    const request = transfer(NBD_CMD_WRITE, 150 * 1024, 4096)
    request.flags = NBD_CMD_FLAG_FUA
    request.memory!.bytes.set(random.bytes(150 * 1024))
    const outcome = perform(pair.device, request)
    const pieces = await seen(pair, 3)
    expect(pieces.map(({ length }) => length)).toEqual([65536, 65536, 22528])
    expect(pieces.map(({ offset }) => offset)).toEqual([4096, 69632, 135168])
    expect(pieces.map(({ flags }) => flags)).toEqual(new Array(3).fill(NBD_CMD_FLAG_FUA))
    const payload = Buffer.concat(pieces.map(piece => piece.payload))
    expectBytes(payload, request.memory!.bytes.subarray(0, 150 * 1024))
    for (const [index, error] of [0, ENOSPC, EIO].entries()) {
      pair.server.say(simpleReply(pieces[index]!, error))
    }
    expect(await outcome).toBe(ENOSPC)
  })

  it('splits a long write zeroes, and waits for every piece', async () => {
    await using pair = openRemotePair(engine)
    const length = 5 * 1024 ** 3
    const watched = start(pair.device, createRequest({ command: NBD_CMD_WRITE_ZEROES, length }))
    const pieces = await seen(pair, 5)
    const end = pieces.reduce((at, piece) => {
      expect(piece.offset).toBe(at)
      return at + piece.length
    }, 0)
    expect(end).toBe(length)
    for (const piece of pieces.slice(0, 4)) pair.server.say(simpleReply(piece))
    const other = perform(pair.device, flush())
    pair.server.say(simpleReply(await pair.server.request(5)))
    await other
    expect(watched.outcome).toBeUndefined()
    pair.server.say(simpleReply(pieces[4]!))
    const last = perform(pair.device, flush())
    pair.server.say(simpleReply(await pair.server.request(6)))
    await last
    expect(watched.outcome).toBe(0)
  })

  it('puts together a read whose chunks come out of order, byte by byte', async () => {
    await using pair = openRemotePair(engine)
    const request = transfer(NBD_CMD_READ, 16384, 8192)
    request.memory!.bytes.fill(0xee)
    const outcome = perform(pair.device, request)
    const r = await pair.server.request()
    const [head, tail] = [random.bytes(4096), random.bytes(8192)]
    const reply = Buffer.concat([
      dataChunk(r, 0, 8192 + 8192, tail),
      chunk(r, 0, NBD_REPLY_TYPE_OFFSET_HOLE, words(0, 8192 + 4096, 4096)),
      dataChunk(r, 0, 8192, head),
      chunk(r, DONE, NBD_REPLY_TYPE_NONE, Buffer.alloc(0)),
    ])
    for (let at = 0; at < reply.length; at += 997) {
      pair.server.say(reply.subarray(at, at + 997))
      if (at % 3988 === 0) await sleep(1)
    }
    expect(await outcome).toBe(0)
    const expected = Buffer.concat([head, Buffer.alloc(4096), tail])
    expectBytes(request.memory!.bytes.subarray(0, 16384), expected)
  })

  it('reads more than its buffer holds, between small replies', async () => {
    const blockSize = { minimum: 1, maximum: 32 * 1024 * 1024 }
    await using pair = openRemotePair(engine, {
      structuredReplies: false,
      contextId: undefined,
      blockSize,
    })
    const length = 3 * 1024 * 1024
    const large = transfer(NBD_CMD_READ, length)
    const all = [
      perform(pair.device, flush()),
      perform(pair.device, large),
      perform(pair.device, flush()),
    ]
    const [first, second, third] = await seen(pair, 3)
    const bytes = random.bytes(length)
    pair.server.say(simpleReply(first!), simpleReply(second!), bytes, simpleReply(third!))
    expect(await Promise.all(all)).toEqual([0, 0, 0])
    expectBytes(large.memory!.bytes.subarray(0, length), bytes)
  })

  it.each([
    [1, EPERM],
    [5, EIO],
    [22, EINVAL],
    [28, ENOSPC],
    [95, ENOTSUP],
    [108, ESHUTDOWN],
    [30, EPERM],
    [4711, EIO],
  ])('passes on the error %d, and stays connected', async (value, errno) => {
    await using pair = openRemotePair(engine)
    const outcomes = [
      perform(pair.device, flush()),
      perform(pair.device, transfer(NBD_CMD_READ, 512)),
    ]
    const [first, second] = await seen(pair, 2)
    pair.server.say(simpleReply(first!, value), errorChunk(second!, DONE, value))
    expect(await Promise.all(outcomes)).toEqual([errno, errno])
    const next = perform(pair.device, flush())
    pair.server.say(simpleReply(await pair.server.request(2)))
    expect(await next).toBe(0)
  })

  it('cuts extents at the end of the request, and where they do not fit', async () => {
    await using pair = openRemotePair(engine)
    const ask = async (length: number, ...values: number[]): Promise<number[][]> => {
      const extents = new Extents()
      const fields = { command: NBD_CMD_BLOCK_STATUS, length, extents }
      const outcome = perform(pair.device, createRequest(fields))
      const request = await pair.server.request(pair.server.requests.length)
      pair.server.say(chunk(request, DONE, NBD_REPLY_TYPE_BLOCK_STATUS, words(0, ...values)))
      expect(await outcome).toBe(0)
      return Array.from({ length: extents.count }, (_, i) => [extents.length(i), extents.flags(i)])
    }
    expect(await ask(4096, 512, 3, 1048576, 0)).toEqual([
      [512, 3],
      [3584, 0],
    ])
    // Not whole blocks of 512: the answer ends before the gap, and does not go on behind it.
    expect(await ask(4096, 512, 3, 700, 0, 324, 3, 2560, 3)).toEqual([
      [512, 3],
      [512, 0],
    ])
    expect(await ask(4096, 100, 3, 3996, 3)).toEqual([[4096, 0]])
    const many = Array.from({ length: EXTENTS_MAX + 2 }, (_, i) => [512, i % 2]).flat()
    expect(await ask(1024 ** 2, ...many)).toHaveLength(EXTENTS_MAX)
  })

  it('keeps a write until its data has left, even if the answer comes first', async () => {
    await using pair = openRemotePair(engine, {
      blockSize: { minimum: 1, maximum: 32 * 1024 ** 2 },
    })
    pair.server.socket.pause()
    const watched = start(pair.device, transfer(NBD_CMD_WRITE, 8 * 1024 ** 2))
    // Cookies are predictable enough for an answer to what nobody has read yet.
    await sleep(50)
    pair.server.say(simpleReply({ cookieHigh: 1, cookieLow: 0 }, ENOSPC))
    await sleep(50)
    expect(watched.outcome).toBeUndefined()
    pair.server.socket.resume()
    await pair.server.request()
    const next = perform(pair.device, flush())
    pair.server.say(simpleReply(await pair.server.request(1)))
    await next
    expect(watched.outcome).toBe(ENOSPC)
  })
})
