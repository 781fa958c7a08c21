import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { mapAnonymous } from '../../../src/io/mmap.ts'
import { expectBytes } from '../../support/bytes.ts'
import { pattern, result, type Subject } from '../conformance.ts'

const ECONNRESET = 104
const MiB = 1024 * 1024

export function testReceiving(subject: Subject): void {
  const memory = mapAnonymous(4 * MiB)
  const { bytes } = memory

  it('receives what is there, without waiting for more', async () => {
    const { socket, peer } = await subject.pairs.unix(subject.engine)
    peer.write('hello')
    const received = await result(o => socket.recv(memory, 10, 4096, false, o))
    expect(Buffer.from(bytes.subarray(10, 10 + received)).toString()).toBe('hello')
    await socket.close()
    peer.destroy()
  })

  it('waits for data that comes late, also on an fd that was non-blocking', async () => {
    const { socket, peer } = await subject.pairs.tcp(subject.engine)
    const receiving = result(o => socket.recv(memory, 0, 10, false, o))
    await delay(60)
    peer.write('late')
    expect(await receiving).toBe(4)
    await socket.close()
    peer.destroy()
  })

  it('keeps what was not asked for until it is', async () => {
    const { socket, peer } = await subject.pairs.unix(subject.engine)
    peer.write('abcdefgh')
    for (const expected of ['abc', 'def', 'gh']) {
      const received = await result(o => socket.recv(memory, 0, 3, false, o))
      expect(Buffer.from(bytes.subarray(0, received)).toString()).toBe(expected)
    }
    await socket.close()
    peer.destroy()
  })

  it('with `all`, waits for the whole length across fragments', async () => {
    const { socket, peer, wire } = await subject.pairs.tcp(subject.engine)
    wire.setNoDelay()
    const sent = pattern(Buffer.alloc(300_000))
    const received = result(o => socket.recv(memory, 0, sent.length, true, o))
    for (let at = 0; at < sent.length; at += 60_000) {
      peer.write(sent.subarray(at, at + 60_000))
      await delay(2)
    }
    expect(await received).toBe(sent.length)
    expectBytes(bytes.subarray(0, sent.length), sent)
    await socket.close()
    peer.destroy()
  })

  it('with `all`, is short at the end of the stream', async () => {
    const { socket, peer } = await subject.pairs.unix(subject.engine)
    const received = result(o => socket.recv(memory, 0, 100, true, o))
    peer.end('partial')
    expect(await received).toBe('partial'.length)
    expect(await result(o => socket.recv(memory, 0, 100, true, o))).toBe(0)
    await socket.close()
    peer.destroy()
  })

  it('answers 0 at the end of the stream, again and again', async () => {
    const { socket, peer } = await subject.pairs.tcp(subject.engine)
    const waiting = result(o => socket.recv(memory, 0, 100, false, o))
    peer.end()
    expect(await waiting).toBe(0)
    expect(await result(o => socket.recv(memory, 0, 100, false, o))).toBe(0)
    await socket.close()
    peer.destroy()
  })

  it('gives the bytes that arrived before the end first', async () => {
    const { socket, peer } = await subject.pairs.tcp(subject.engine)
    peer.end('last words')
    await delay(20)
    expect(await result(o => socket.recv(memory, 0, 4096, false, o))).toBe('last words'.length)
    expect(await result(o => socket.recv(memory, 0, 4096, false, o))).toBe(0)
    await socket.close()
    peer.destroy()
  })

  it('answers a reset with its negative errno', async () => {
    const { socket, wire } = await subject.pairs.tcp(subject.engine)
    const waiting = result(o => socket.recv(memory, 0, 100, true, o))
    wire.resetAndDestroy()
    expect(await waiting).toBe(-ECONNRESET)
    await socket.close()
  })

  it('takes in no more than it is asked for, give or take buffers', async () => {
    const { socket, peer } = await subject.pairs.unix(subject.engine)
    const sent = 32 * MiB
    peer.write(Buffer.alloc(sent))
    expect(await result(o => socket.recv(memory, 0, 1, false, o))).toBe(1)
    await delay(50)
    // The peer still holds most of it: nobody asked for more.
    expect(peer.writableLength).toBeGreaterThan(sent - 4 * MiB)
    let total = 1
    while (total < sent) {
      total += await result(o => socket.recv(memory, 0, 4 * MiB, false, o))
    }
    expect(total).toBe(sent)
    await socket.close()
    peer.destroy()
  })
}
