/**
 * Whole conversations, cut in every way: how the bytes arrive changes nothing about the answers or
 * the disk.
 */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import { ENGINE_NAMES, type EngineName } from '../../src/io/engine.ts'
import { expectBytes } from '../support/bytes.ts'
import { Random } from '../support/random.ts'
import { DISCONNECT, type RawReply, type RawRequest, requestBytes } from './raw-client.ts'
import { TestServer } from './server.ts'

const KIB = 1024
const SIZE = 1024 * KIB

/** Requests of every kind, legal and not, that do not depend on each other's order. */
function transcript(payloadMax: number): RawRequest[] {
  const random = new Random(7)
  const write = (offset: number, length: number) => ({
    command: NBD_CMD_WRITE,
    offset,
    payload: random.bytes(length),
  })
  const requests: RawRequest[] = [
    { command: NBD_CMD_READ, offset: 900 * KIB, length: 100 },
    write(0, 1),
    write(KIB, Math.min(payloadMax, 3 * KIB)),
    { command: NBD_CMD_FLUSH },
    { ...write(8 * KIB, 10), flags: NBD_CMD_FLAG_FUA },
    { ...write(9 * KIB, 10), offset: 2n ** 62n },
    { command: 4711, length: 12 },
    { command: NBD_CMD_WRITE, offset: 10 * KIB, length: 0 },
    { command: NBD_CMD_BLOCK_STATUS, offset: 512 * KIB, length: 64 * KIB },
    { command: NBD_CMD_TRIM, offset: 600 * KIB, length: KIB },
    { command: NBD_CMD_WRITE_ZEROES, offset: 601 * KIB, length: KIB },
    { command: NBD_CMD_CACHE, offset: 0, length: KIB },
    write(16 * KIB, payloadMax),
    { command: NBD_CMD_READ, offset: 901 * KIB, length: payloadMax },
    write(SIZE - 1, 2),
  ]
  return requests.map((request, index) => ({ ...request, cookie: 100 + index }))
}

interface Outcome {
  readonly replies: readonly RawReply[]
  readonly counters: Record<string, number>
  readonly disk: Uint8Array
}

async function outcome(
  engine: EngineName,
  requests: readonly RawRequest[],
  pieces: (all: Buffer) => Buffer[],
): Promise<Outcome> {
  const disk = new MemoryDevice(new Random(8).bytes(SIZE))
  await using server = await TestServer.open(engine, chain(checked, disk))
  const client = await server.raw()
  for (const request of requests) client.expect(request)
  const all = Buffer.concat([...requests.map(requestBytes), DISCONNECT])
  for (const piece of pieces(all)) {
    client.socket.write(piece)
    await new Promise(setImmediate)
  }
  const replies = await client.rest()
  const counters = { ...server.counters.all(), connections: 0 }
  return { replies: replies.toSorted((a, b) => a.cookie - b.cookie), counters, disk: disk.bytes }
}

/** Splits at random; small pieces are as frequent as large ones. */
function randomPieces(all: Buffer, random: Random): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < all.length; ) {
    const length = 1 + random.below(2 ** (1 + random.below(17)))
    pieces.push(all.subarray(at, at + length))
    at += length
  }
  return pieces
}

function expectSame(actual: Outcome, expected: Outcome): void {
  expectBytes(actual.disk, expected.disk)
  const withoutData = ({ replies, counters }: Outcome) => ({
    counters,
    replies: replies.map(({ data, ...rest }) => ({ ...rest, length: data.length })),
  })
  expect(withoutData(actual)).toEqual(withoutData(expected))
  const dataOf = ({ replies }: Outcome) => Buffer.concat(replies.map(({ data }) => data))
  expectBytes(dataOf(actual), dataOf(expected))
}

describe.each(ENGINE_NAMES)('transcripts on %s', engine => {
  test('one byte at a time gives the same answers', async () => {
    const requests = transcript(300)
    const whole = await outcome(engine, requests, all => [all])
    expect(whole.replies).toHaveLength(requests.length)
    const bytes = await outcome(engine, requests, all =>
      Array.from(all, (_, at) => all.subarray(at, at + 1)),
    )
    expectSame(bytes, whole)
  })

  test.each([32 * KIB, 32 * KIB + 1, 256 * KIB, 300_000])(
    'random pieces give the same answers, with writes of %i bytes',
    async payloadMax => {
      const requests = Array.from({ length: 3 }, () => transcript(payloadMax)).flat()
      const numbered = requests.map((request, index) => ({ ...request, cookie: index }))
      const whole = await outcome(engine, numbered, all => [all])
      expect(whole.replies).toHaveLength(numbered.length)
      for (let seed = 0; seed < 3; seed++) {
        const random = new Random(seed)
        const split = await outcome(engine, numbered, all => randomPieces(all, random))
        expectSame(split, whole)
      }
    },
  )
})
