import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { mapAnonymous } from '../../../src/io/mmap.ts'
import { expectBytes } from '../../support/bytes.ts'
import { gatherOf, pattern, result, type Subject } from '../conformance.ts'

const MiB = 1024 * 1024

export function testSending(subject: Subject): void {
  const memory = mapAnonymous(4 * MiB)
  const other = mapAnonymous(4 * MiB)

  it('sends the entries of a gather in order, as one stream', async () => {
    const { socket, peer } = await subject.pairs.unix(subject.engine)
    pattern(memory.bytes)
    const gather = subject.engine.createGather(3)
    gather.push(memory, 100, 5)
    gather.push(memory, 7, 1)
    gather.push(memory, 5000, 70)
    expect([gather.count, gather.length]).toEqual([3, 76])
    expect(await result(o => socket.send(gather, o))).toBe(76)
    const [chunk] = (await once(peer, 'data')) as [Buffer]
    const places = [...memory.bytes.subarray(100, 105), memory.bytes[7]!]
    expectBytes(chunk, Uint8Array.from([...places, ...memory.bytes.subarray(5000, 5070)]))
    await socket.close()
    peer.destroy()
  })

  it('sends a gather again after clear', async () => {
    const [a, b] = await subject.pairs.both(subject.engine)
    const gather = subject.engine.createGather(8)
    for (let round = 1; round <= 5; round++) {
      gather.clear()
      for (let i = 0; i < round; i++) gather.push(memory, i * 10, 10)
      expect(await result(o => a.send(gather, o))).toBe(round * 10)
      expect(await result(o => b.recv(other, 0, round * 10, true, o))).toBe(round * 10)
      expectBytes(other.bytes.subarray(0, round * 10), memory.bytes.subarray(0, round * 10))
    }
    await Promise.all([a.close(), b.close()])
  })

  it('sends and receives at once, both ways, with full gathers', async () => {
    const [a, b] = await subject.pairs.both(subject.engine)
    pattern(memory.bytes, 3)
    const forward = subject.engine.createGather(1024)
    const back = subject.engine.createGather(1024)
    for (let i = 0; i < 1024; i++) {
      forward.push(memory, i * 1024, 1024)
      back.push(memory, MiB + i * 1000, 1000)
    }
    const settled = await Promise.all([
      result(o => a.send(forward, o)),
      result(o => b.send(back, o)),
      result(o => a.recv(other, 0, 1024 * 1000, true, o)),
      result(o => b.recv(other, 2 * MiB, MiB, true, o)),
    ])
    expect(settled).toEqual([MiB, 1_024_000, 1_024_000, MiB])
    expectBytes(other.bytes.subarray(0, 1_024_000), memory.bytes.subarray(MiB, MiB + 1_024_000))
    expectBytes(other.bytes.subarray(2 * MiB, 3 * MiB), memory.bytes.subarray(0, MiB))
    await Promise.all([a.close(), b.close()])
  })

  it('sends 64 MiB whole to a slow reader', async () => {
    const { socket, peer } = await subject.pairs.tcp(subject.engine)
    pattern(memory.bytes, 9)
    const gather = subject.engine.createGather(1000)
    const length = 67_109
    const expected = createHash('sha256')
    for (let i = 0; i < 1000; i++) {
      const at = (i * 3461) % (memory.bytes.length - length)
      gather.push(memory, at, length)
      expected.update(memory.bytes.subarray(at, at + length))
    }
    const sending = result(o => socket.send(gather, o))
    const found = createHash('sha256')
    let total = 0
    for await (const chunk of peer) {
      found.update(chunk as Buffer)
      total += (chunk as Buffer).length
      if (total % 7 === 0) await delay(1)
      if (total === length * 1000) break
    }
    expect(await sending).toBe(length * 1000)
    expect(found.digest('hex')).toBe(expected.digest('hex'))
    await socket.close()
    peer.destroy()
  })

  it('waits while nobody reads', async () => {
    const { socket, peer } = await subject.pairs.unix(subject.engine)
    peer.pause()
    let isSettled = false
    const gather = gatherOf(subject.engine, memory, other)
    const sending = result(o => socket.send(gather, o)).finally(() => {
      isSettled = true
    })
    await delay(30)
    expect(isSettled).toBe(false)
    peer.resume()
    expect(await sending).toBe(8 * MiB)
    await socket.close()
    peer.destroy()
  })

  it('answers a negative errno once the peer is gone', async () => {
    const [a, b] = await subject.pairs.both(subject.engine)
    await b.close()
    const gather = gatherOf(subject.engine, memory)
    expect([-32, -104]).toContain(await result(o => a.send(gather, o)))
    await a.close()
  })

  it('answers a negative errno when the peer goes away in the middle', async () => {
    const { socket, peer, wire } = await subject.pairs.tcp(subject.engine)
    peer.pause()
    const gather = subject.engine.createGather(16)
    for (let i = 0; i < 16; i++) gather.push(memory, 0, 4 * MiB)
    const sending = result(o => socket.send(gather, o))
    await delay(20)
    wire.resetAndDestroy()
    expect([-32, -104]).toContain(await sending)
    await socket.close()
  })

  it('still delivers what was sent before close', async () => {
    const { socket, peer } = await subject.pairs.tcp(subject.engine)
    const gather = subject.engine.createGather(1)
    gather.push(memory, 0, 100_000)
    expect(await result(o => socket.send(gather, o))).toBe(100_000)
    await socket.close()
    let total = 0
    for await (const chunk of peer) total += (chunk as Buffer).length
    expect(total).toBe(100_000)
    peer.destroy()
  })
}
