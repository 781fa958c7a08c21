/**
 * A socket that encrypts promises what any other does, on both engines; and besides, that what it
 * sends is TLS: packed, renewed, and of no use to whoever changes it.
 */
import { readdirSync } from 'node:fs'
import net from 'node:net'
import { describe, expect, it } from 'vitest'
import { LibuvEngine } from '../../src/io/libuv.ts'
import { mapAnonymous } from '../../src/io/mmap.ts'
import { UringEngine, whyNoUring } from '../../src/io/uring.ts'
import { TlsConnection } from '../../src/tls/tls-connection.ts'
import { closeStream, openStream } from '../../src/tls/tls-socket.ts'
import { describeSockets, gatherOf, type OpenEngine, pattern, result } from '../io/conformance.ts'
import { SECURE, secureEnds } from '../io/sockets.ts'
import { expectBytes } from '../support/bytes.ts'
import { Random } from '../support/random.ts'

const MIB = 1024 * 1024
const EBADMSG = 74
const EPIPE = 32

describeTls('libuv', () => new LibuvEngine())
const why = whyNoUring()
if (why === undefined) {
  describeTls('uring', () => new UringEngine({ blockMsMax: 60_000 }))
  describeTls(
    'uring, 8 entries',
    () => new UringEngine({ entries: 8, completions: 8, blockMsMax: 60_000 }),
  )
} else {
  describe.skip(`TLS on uring (skipped: ${why})`, () => {})
}

function describeTls(name: string, open: OpenEngine): void {
  describeSockets(`TLS on ${name}`, open, SECURE)

  describe(`TLS on ${name}`, () => {
    it.each([1, 2, 3])('carries gathers and receives of any size (seed %i)', async seed => {
      const random = new Random(seed)
      const engine = open()
      const [a, b] = await SECURE.both(engine)
      const memory = mapAnonymous(4 * MIB)
      const came = mapAnonymous(4 * MIB)
      pattern(memory.bytes, seed)
      for (let round = 0; round < 40; round++) {
        const gather = engine.createGather(64)
        const expected: Uint8Array[] = []
        for (let count = 1 + random.below(64); count > 0 && gather.length < 3 * MIB; count--) {
          const length = 1 + random.below(2 ** (1 + random.below(20)))
          const at = random.below(memory.bytes.length - length)
          gather.push(memory, at, length)
          expected.push(memory.bytes.subarray(at, at + length))
        }
        const sending = result(o => a.send(gather, o))
        const total = Buffer.concat(expected)
        let done = 0
        while (done < total.length) {
          const wanted = Math.min(
            1 + random.below(2 ** (1 + random.below(21))),
            total.length - done,
          )
          const all = random.chance(0.5)
          const count = await result(o => b.recv(came, done, wanted, all, o))
          expect(count).toBeGreaterThan(0)
          if (all) expect(count).toBe(wanted)
          done += count
        }
        expect(await sending).toBe(total.length)
        expectBytes(came.bytes.subarray(0, done), total)
      }
      await Promise.all([a.close(), b.close()])
      await engine.close()
    })

    it('a byte that somebody has changed ends the connection, and is not delivered', async () => {
      const engine = open()
      const { socket, peer, wire } = await SECURE.unix(engine)
      const memory = mapAnonymous(MIB)
      peer.write('right')
      expect(await result(o => socket.recv(memory, 0, 100, false, o))).toBe('right'.length)
      const write = wire.write.bind(wire)
      wire.write = ((bytes: Uint8Array) => {
        const changed = Buffer.from(bytes)
        changed[changed.length - 1]! ^= 1
        return write(changed)
      }) as typeof wire.write
      peer.write('wrong')
      expect(await result(o => socket.recv(memory, 0, 100, false, o))).toBe(-EBADMSG)
      expect(await result(o => socket.recv(memory, 0, 100, false, o))).toBe(-EBADMSG)
      expectBytes(memory.bytes.subarray(0, 5), Buffer.from('right'))
      const gather = engine.createGather(1)
      gather.push(memory, 0, 100)
      expect(await result(o => socket.send(gather, o))).toBe(-EPIPE)
      await socket.close()
      await engine.close()
      peer.destroy()
    })

    it.each([false, true])(
      'goes on under new keys, also when the peer asks in the middle of a send (%s)',
      async isSending => {
        const engine = open()
        const ends = await secureEnds()
        const [a, b] = [openStream(engine, ends[0]), openStream(engine, ends[1])]
        const memory = mapAnonymous(8 * MIB)
        const came = mapAnonymous(8 * MIB)
        pattern(memory.bytes)
        const large = gatherOf(engine, memory)
        const sending = isSending ? result(o => a.send(large, o)) : Promise.resolve(8 * MIB)
        TlsConnection.adopt(ends[1].tls!).renewKey(true)
        const small = engine.createGather(1)
        small.push(memory, 5, 100)
        expect(await result(o => b.send(small, o))).toBe(100)
        expect(await result(o => a.recv(came, 0, 100, true, o))).toBe(100)
        expectBytes(came.bytes.subarray(0, 100), memory.bytes.subarray(5, 105))
        const next = isSending ? sending : result(o => a.send(large, o))
        expect(await result(o => b.recv(came, 0, 8 * MIB, true, o))).toBe(8 * MIB)
        expectBytes(came.bytes, memory.bytes)
        expect(await next).toBe(8 * MIB)
        await Promise.all([a.close(), b.close()])
        await engine.close()
      },
    )

    it('is over when the peer wants new keys without end and reads nothing', async () => {
      const engine = open()
      const [ours, theirs] = await secureEnds()
      const socket = openStream(engine, ours)
      const memory = mapAnonymous(MIB)
      const large = engine.createGather(64)
      for (let count = 0; count < 64; count++) large.push(memory, 0, MIB)
      const sending = result(o => socket.send(large, o))
      const receiving = result(o => socket.recv(memory, 0, 4096, false, o))
      const attacker = TlsConnection.adopt(theirs.tls!)
      const wire = new net.Socket({ fd: theirs.fd })
      wire.on('error', () => {})
      for (let round = 0; round < 100; round++) {
        attacker.renewKey(true)
        attacker.handshake()
        wire.write(attacker.take())
      }
      expect(await receiving).toBe(-EBADMSG)
      wire.destroy()
      expect(await sending).toBeLessThan(0)
      await socket.close()
      await engine.close()
      attacker.free()
    })

    it('that cannot be opened keeps no descriptor', async () => {
      const engine = open()
      const [ours, theirs] = await secureEnds()
      await engine.close()
      const before = readdirSync('/proc/self/fd').length
      expect(() => openStream(engine, ours)).toThrow('used after close')
      expect(readdirSync('/proc/self/fd').length).toBe(before - 1)
      closeStream(theirs)
    })

    it('says good-bye when it is closed', async () => {
      const engine = open()
      const { socket, peer, wire } = await SECURE.unix(engine)
      const order: string[] = []
      const ended = new Promise(resolve => peer.once('end', resolve))
      peer.once('end', () => order.push('TLS')).resume()
      wire.once('end', () => order.push('socket'))
      await socket.close()
      await ended
      expect(order[0]).toBe('TLS')
      await engine.close()
      peer.destroy()
    })
  })
}
