import fs from 'node:fs'
import { describe, expect, it } from 'vitest'
import { Arena, HEADROOM } from '../../src/io/arena.ts'
import { PAGE_SIZE } from '../../src/io/memory.ts'

const KiB = 1024
const MiB = 1024 * 1024

function rssBytes(): number {
  return Number(fs.readFileSync('/proc/self/statm', 'utf8').split(' ')[1]) * PAGE_SIZE
}

describe('arena', () => {
  it('puts each payload on a page, the headroom directly in front of it', () => {
    const arena = new Arena([
      { payload: 64 * KiB, count: 3 },
      { payload: 4 * KiB, count: 3 },
    ])
    const slots = [1, 1, 1, 65536, 65536, 65536].map(length => arena.acquire(length)!)
    for (const slot of slots) {
      expect((slot.address + HEADROOM) % PAGE_SIZE).toBe(0)
      expect(slot.bytes.length).toBe(HEADROOM + slot.capacity)
      expect(slot.header.byteLength).toBe(HEADROOM)
      slot.header.setUint32(HEADROOM - 4, 0x01020304)
      expect([...slot.bytes.subarray(HEADROOM - 4, HEADROOM)]).toEqual([1, 2, 3, 4])
      arena.release(slot)
    }
    arena.close()
  })

  it('gives slots that do not overlap', () => {
    const arena = new Arena([
      { payload: 4 * KiB, count: 5 },
      { payload: 8 * KiB, count: 5 },
    ])
    const slots = Array.from({ length: 10 }, (_, i) => arena.acquire(i < 5 ? 100 : 5000)!)
    for (const [i, slot] of slots.entries()) slot.bytes.fill(i + 1)
    for (const [i, slot] of slots.entries()) {
      expect(slot.bytes.every(byte => byte === i + 1)).toBe(true)
      arena.release(slot)
    }
    arena.close()
  })

  it('takes the smallest class that fits, then a larger one, then none', () => {
    const arena = new Arena([
      { payload: 4 * KiB, count: 1 },
      { payload: 64 * KiB, count: 1 },
    ])
    const small = arena.acquire(4096)!
    expect(small.capacity).toBe(4096)
    const large = arena.acquire(1)!
    expect(large.capacity).toBe(64 * KiB)
    expect(arena.acquire(1)).toBeUndefined()
    arena.release(small)
    expect(arena.acquire(4097)).toBeUndefined()
    arena.release(large)
    const again = arena.acquire(4097)!
    expect(again.capacity).toBe(64 * KiB)
    arena.release(again)
    arena.close()
  })

  it('refuses what no class holds, a second release, and slots that are not its own', () => {
    const arena = new Arena([{ payload: 4 * KiB, count: 2 }])
    const other = new Arena([{ payload: 4 * KiB, count: 1 }])
    expect(() => arena.acquire(4097)).toThrow('no class is large enough')
    const slot = arena.acquire(1)!
    expect(() => other.release(slot)).toThrow('not its slot')
    expect(() => arena.close()).toThrow('in use')
    arena.release(slot)
    expect(() => arena.release(slot)).toThrow('released twice')
    expect(() => new Arena([{ payload: 1000, count: 1 }])).toThrow('whole pages')
    arena.close()
    other.close()
  })

  it('gives the pages of large slots back on release', () => {
    const arena = new Arena([
      { payload: 4 * KiB, count: 4 },
      { payload: 32 * MiB, count: 2 },
    ])
    const slot = arena.acquire(32 * MiB)!
    slot.bytes.fill(1)
    const full = rssBytes()
    arena.release(slot)
    expect(full - rssBytes()).toBeGreaterThan(24 * MiB)
    const again = arena.acquire(32 * MiB)!
    expect(again.bytes[HEADROOM]).toBe(0)
    arena.release(again)
    arena.close()
  })

  it('takes no page before it is used', () => {
    const before = rssBytes()
    const arena = new Arena([{ payload: 32 * MiB, count: 8 }])
    expect(rssBytes() - before).toBeLessThan(16 * MiB)
    arena.close()
  })
})
