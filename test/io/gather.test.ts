import { describe, expect, it } from 'vitest'
import { IovecGather } from '../../src/io/gather.ts'
import { viewOf } from '../../src/io/libc.ts'
import type { Memory } from '../../src/io/memory.ts'
import { Random } from '../support/random.ts'

/**
 * The kernel does not look at it here, so that any address will do: one beyond 32 bits, whose sums
 * carry.
 */
const MEMORY: Memory = { bytes: new Uint8Array(2 ** 20), address: 0x7fff_ffff_f000 }

/**
 * What the kernel would read: pairs of address and length, following struct msghdr (recvmsg(2)).
 */
function entries(gather: IovecGather): [address: number, length: number][] {
  const header = new BigUint64Array(viewOf(gather.address, 56).slice(0))
  const count = Number(header[3])
  if (count === 0) return []
  const iovecs = new BigUint64Array(viewOf(Number(header[2]), count * 16).slice(0))
  return Array.from({ length: count }, (_, i) => [Number(iovecs[2 * i]), Number(iovecs[2 * i + 1])])
}

describe('gather', () => {
  it('is what the kernel expects', () => {
    const gather = new IovecGather(4)
    gather.push(MEMORY, 0, 10)
    gather.push(MEMORY, 0x2000, 20)
    gather.start()
    expect(entries(gather)).toEqual([
      [0x7fff_ffff_f000, 10],
      [0x8000_0000_1000, 20],
    ])
    const header = new BigUint64Array(viewOf(gather.address, 56).slice(0))
    // No name and no control data, no flags.
    expect([header[0], header[1], header[4], header[5], header[6]]).toEqual([0n, 0n, 0n, 0n, 0n])
  })

  it('leaves exactly the bytes not yet sent after each partial send', () => {
    const random = new Random(7)
    for (let round = 0; round < 200; round++) {
      const gather = new IovecGather(16)
      const expected: number[] = []
      for (let i = random.below(16); i >= 0; i--) {
        const [at, length] = [random.below(10_000), random.below(20)]
        gather.push(MEMORY, at, length)
        for (let k = 0; k < length; k++) expected.push(MEMORY.address + at + k)
      }
      gather.start()
      let sent = 0
      while (sent < expected.length) {
        const step = 1 + random.below(Math.min(30, expected.length - sent))
        gather.advance(step)
        sent += step
        const left = entries(gather).flatMap(([address, length]) =>
          Array.from({ length }, (_, k) => address + k),
        )
        expect(left).toEqual(expected.slice(sent))
      }
    }
  })

  it('is empty and usable after clear, whatever became of it', () => {
    const gather = new IovecGather(2)
    gather.push(MEMORY, 0, 10)
    gather.push(MEMORY, 100, 10)
    gather.start()
    gather.advance(15)
    gather.clear()
    expect([gather.count, gather.length]).toEqual([0, 0])
    gather.push(MEMORY, 7, 3)
    gather.start()
    expect(entries(gather)).toEqual([[MEMORY.address + 7, 3]])
  })
})
