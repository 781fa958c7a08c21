import { describe, expect, it } from 'vitest'
import { bitmapBytes, DirtyBitmap } from '../../src/mirror/bitmap.ts'
import { Random } from '../support/random.ts'

function open(size: number, granularity: number): DirtyBitmap {
  return new DirtyBitmap({
    storage: new Uint8Array(bitmapBytes(size, granularity)),
    size,
    granularity,
  })
}

/** The same by the slowest means. */
class NaiveBitmap {
  readonly dirty = new Set<number>()

  set(first: number, end: number): number {
    const before = this.dirty.size
    for (let chunk = first; chunk < end; chunk++) this.dirty.add(chunk)
    return this.dirty.size - before
  }

  clear(first: number, end: number): number {
    let removed = 0
    for (let chunk = first; chunk < end; chunk++) if (this.dirty.delete(chunk)) removed++
    return removed
  }

  nextDirty(from: number): number {
    let next = -1
    for (const chunk of this.dirty) if (chunk >= from && (next < 0 || chunk < next)) next = chunk
    return next
  }

  runEnd(first: number, limit: number): number {
    let end = first
    while (end < limit && this.dirty.has(end)) end++
    return end
  }
}

describe('dirty bitmap', () => {
  it.each([1, 31, 32, 33, 1000, 1024, 1025, 5000, 33_000])(
    'of %i chunks agrees with a set of chunks after any operations',
    chunks => {
      const random = new Random(chunks)
      const size = chunks * 4 - (chunks % 3)
      const storage = new Uint8Array(bitmapBytes(size, 4))
      let bitmap = new DirtyBitmap({ storage, size, granularity: 4 })
      const naive = new NaiveBitmap()
      for (let step = 0; step < 300; step++) {
        const first = random.below(chunks)
        const end =
          first + 1 + random.below(Math.min(chunks - first, step % 10 === 0 ? chunks : 70))
        if (random.below(2) === 0) expect(bitmap.set(first, end)).toBe(naive.set(first, end))
        else expect(bitmap.clear(first, end)).toBe(naive.clear(first, end))
        // A process that opens what another has left sees the same.
        if (step % 50 === 0) bitmap = new DirtyBitmap({ storage, size, granularity: 4 })
        const from = random.below(chunks)
        const next = bitmap.nextDirty(from)
        expect(next).toBe(naive.nextDirty(from))
        expect(bitmap.dirtyCount).toBe(naive.dirty.size)
        expect(bitmap.isDirty(from)).toBe(naive.dirty.has(from))
        if (next >= 0) {
          const limit = next + 1 + random.below(chunks - next)
          expect(bitmap.runEnd(next, limit)).toBe(naive.runEnd(next, limit))
        }
      }
    },
  )

  it.each([1, 31, 32, 33, 1024, 1025, 33_000])(
    'of %i chunks that starts all dirty is one in which every chunk was set',
    chunks => {
      const bytes = bitmapBytes(chunks * 4, 4)
      const storage = new Uint8Array(bytes)
      const expected = new Uint8Array(bytes)
      const bitmap = new DirtyBitmap({
        storage,
        size: chunks * 4,
        granularity: 4,
        isAllDirty: true,
      })
      new DirtyBitmap({ storage: expected, size: chunks * 4, granularity: 4 }).set(0, chunks)
      expect(storage).toEqual(expected)
      expect(bitmap.dirtyCount).toBe(chunks)
      for (const keep of [0, chunks >>> 1, chunks - 1]) {
        bitmap.clear(0, chunks)
        expect(bitmap.nextDirty(0)).toBe(-1)
        bitmap.set(keep, keep + 1)
        expect(bitmap.nextDirty(0)).toBe(keep)
      }
    },
  )

  it('counts the last chunk with its own length', () => {
    const bitmap = open(10_000, 4096)
    bitmap.set(0, 3)
    expect(bitmap.dirtyBytes).toBe(10_000)
    bitmap.clear(0, 2)
    expect(bitmap.dirtyBytes).toBe(10_000 - 8192)
    bitmap.clear(2, 3)
    expect(bitmap.dirtyBytes).toBe(0)
  })

  it('ignores bits beyond the last chunk', () => {
    const storage = new Uint8Array(8).fill(0xff)
    const bitmap = new DirtyBitmap({ storage, size: 33 * 16, granularity: 16 })
    expect(bitmap.dirtyCount).toBe(33)
    expect(bitmap.runEnd(0, 33)).toBe(33)
    bitmap.clear(0, 33)
    expect(bitmap.nextDirty(0)).toBe(-1)
  })

  it('finds one dirty chunk in a disk of 16 TiB by a few loads', () => {
    const bitmap = open(16 * 2 ** 40, 65536)
    expect(bitmap.chunks).toBe(2 ** 28)
    bitmap.set(2 ** 28 - 1, 2 ** 28)
    expect(bitmap.nextDirty(0)).toBe(2 ** 28 - 1)
    bitmap.clear(2 ** 28 - 1, 2 ** 28)
    expect(bitmap.nextDirty(0)).toBe(-1)
  })
})
