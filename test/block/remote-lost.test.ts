/** How the connection of a remote device ends: by the server, by time, and by us. */
import { setTimeout as sleep } from 'node:timers/promises'
import {
  NBD_REPLY_FLAG_DONE as DONE,
  NBD_CMD_DISC,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
} from 'nbd-client-ts'
import { describe, expect, it } from 'vitest'
import { ESHUTDOWN } from '../../src/block/errno.ts'
import type { Request } from '../../src/block/request.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { MAPPED_MEMORY } from '../support/mapped-memory.ts'
import { Random } from '../support/random.ts'
import { openRemotePair } from '../support/remote-pair.ts'
import { createRequest, perform } from '../support/requests.ts'
import { dataChunk, simpleReply } from '../support/scripted-server.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const random = new Random(6)
const flush = (): Request => createRequest({ command: NBD_CMD_FLUSH })
const transfer = (command: number, length: number, offset = 0): Request =>
  createRequest({ command, offset, length, memory: MAPPED_MEMORY.acquire(length) })

describe.each(ENGINE_NAMES)('%s: a lost connection', engine => {
  it('is a server that answers twice before the data of the write has left', async () => {
    const blockSize = { minimum: 1, maximum: 32 * 1024 ** 2 }
    await using pair = openRemotePair(engine, { blockSize })
    pair.server.socket.pause()
    const write = transfer(NBD_CMD_WRITE, 8 * 1024 ** 2)
    const outcome = perform(pair.device, write)
    await sleep(20)
    const answer = simpleReply({ cookieHigh: 1, cookieLow: 0 })
    pair.server.say(answer, answer)
    await pair.lost
    expect(await outcome).toBe(ESHUTDOWN)
    expect(pair.reasons[0]).toMatch('cookie')
    MAPPED_MEMORY.release(write.memory!)
  })

  it('fails everything with ESHUTDOWN when the server hangs up within a reply', async () => {
    await using pair = openRemotePair(engine)
    const request = transfer(NBD_CMD_READ, 65536)
    const outcomes = [perform(pair.device, request), perform(pair.device, flush())]
    const r = await pair.server.request()
    pair.server.say(dataChunk(r, DONE, 0, random.bytes(65536)).subarray(0, 20000))
    await sleep(10)
    pair.server.socket.end()
    expect(await Promise.all(outcomes)).toEqual([ESHUTDOWN, ESHUTDOWN])
    await pair.lost
    expect(pair.reasons).toEqual(['the server hung up'])
  })

  it('is noticed when nothing is under way', async () => {
    await using pair = openRemotePair(engine)
    pair.server.socket.end()
    await pair.lost
    expect(await perform(pair.device, flush())).toBe(ESHUTDOWN)
  })

  it('is a server that does not answer in time, whatever else it answers', async () => {
    const clock = new VirtualClock()
    await using pair = openRemotePair(engine, {}, { clock, requestTimeoutMs: 1000 })
    const forgotten = perform(pair.device, flush())
    await pair.server.request()
    clock.advance(900)
    const other = perform(pair.device, flush())
    pair.server.say(simpleReply(await pair.server.request(1)))
    expect(await other).toBe(0)
    expect(pair.reasons).toEqual([])
    clock.advance(200)
    expect(await forgotten).toBe(ESHUTDOWN)
    await pair.lost
    expect(pair.reasons[0]).toMatch('1000 ms')
  })

  it('is a server that does not read, and is told when nothing is under way', async () => {
    const clock = new VirtualClock()
    const blockSize = { minimum: 1, maximum: 32 * 1024 ** 2 }
    await using pair = openRemotePair(engine, { blockSize }, { clock, requestTimeoutMs: 1000 })
    pair.server.socket.pause()
    const write = transfer(NBD_CMD_WRITE, 8 * 1024 ** 2)
    const outcomes = [perform(pair.device, write), perform(pair.device, flush())]
    await sleep(20)
    clock.advance(2000)
    await pair.lost
    expect(pair.device.inFlight).toBe(0)
    expect(await Promise.all(outcomes)).toEqual([ESHUTDOWN, ESHUTDOWN])
    MAPPED_MEMORY.release(write.memory!)
  })
})

describe.each(ENGINE_NAMES)('%s: close', engine => {
  it('waits for the replies, says good-bye, and is not a lost connection', async () => {
    await using pair = openRemotePair(engine)
    const outcome = perform(pair.device, flush())
    const closed = pair.device.close()
    expect(await perform(pair.device, flush())).toBe(ESHUTDOWN)
    pair.server.say(simpleReply(await pair.server.request()))
    expect(await outcome).toBe(0)
    await closed
    expect((await pair.server.request(1)).command).toBe(NBD_CMD_DISC)
    expect(pair.reasons).toEqual([])
  })

  it('does not wait for ever for a server that never answers', async () => {
    const clock = new VirtualClock()
    await using pair = openRemotePair(engine, {}, { clock, requestTimeoutMs: 1000 })
    const outcome = perform(pair.device, flush())
    await pair.server.request()
    const closed = pair.device.close()
    clock.advance(2000)
    expect(await outcome).toBe(ESHUTDOWN)
    await closed
  })
})
