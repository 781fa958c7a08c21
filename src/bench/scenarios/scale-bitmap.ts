/**
 * The dirty bitmap of a 16 TiB disk, in this process: what it costs to find the next dirty chunk,
 * and to set and clear one, from a nearly clean disk to one that is dirty all over.
 */
import { performance } from 'node:perf_hooks'
import { bitmapBytes, DirtyBitmap } from '../../mirror/bitmap.ts'
import type { Bench, Scenario } from '../scenario.ts'

const SIZE = 16 * 2 ** 40
const GRANULARITY = 64 * 1024
const CHUNKS = SIZE / GRANULARITY
/** Dirty chunks: from a handful to every one. */
const DIRTY = [16, 1024, 2 ** 20, CHUNKS / 16, CHUNKS] as const
const SEARCHES = 200_000
const WARM_UP = 1_000_000
/** Coprime to the number of chunks, so that every chunk comes before the first comes again. */
const STRIDE = 1_000_003

export const SCALE_BITMAP: Scenario = {
  name: 'scale-bitmap',
  title: 'The dirty bitmap of a 16 TiB disk',
  shows:
    'Time to find the next dirty chunk from a random place, and to mark ' +
    'and clear a chunk, as the dirty part grows; and to read the bitmap ' +
    'of a killed process again.',
  doesNotShow:
    'A copier, which looks for the next chunk once for every request ' +
    'it sends; there is no peer in it, QEMU’s bitmap cannot be called ' +
    'from here.',
  plotted: 'nanoseconds',
  needs: [],
  repetitions: plan => plan.repetitions,
  run: async bench => {
    const { plan } = bench
    warmUp()
    const storage = new Uint8Array(bitmapBytes(SIZE, GRANULARITY))
    for (const dirty of DIRTY) {
      storage.fill(0)
      const bitmap = new DirtyBitmap({ storage, size: SIZE, granularity: GRANULARITY })
      if (dirty === CHUNKS) bitmap.set(0, CHUNKS)
      else for (let index = 0; index < dirty; index += 1) setOne(bitmap, place(index))
      for (let repetition = 0; repetition < plan.repetitions; repetition += 1) {
        bench.checkSignal()
        bench.step(`${label(dirty)}, ${repetition + 1} of ${plan.repetitions}`)
        measureOne(bench, label(dirty), bitmap)
        const startedAt = performance.now()
        new DirtyBitmap({ storage, size: SIZE, granularity: GRANULARITY })
        const ms = performance.now() - startedAt
        bench.record.add(`${label(dirty)}: read again`, 'time', 'blkferry', ms)
      }
    }
  },
}

function label(dirty: number): string {
  return dirty === CHUNKS ? 'all dirty' : `${dirty.toLocaleString('en')} dirty`
}

function measureOne({ record }: Bench, name: string, bitmap: DirtyBitmap): void {
  let found = 0
  const searches = each(index => {
    found += bitmap.nextDirty(place(index)) >= 0 ? 1 : 0
  })
  if (found === 0) throw new Error('the bitmap found nothing: there is nothing to measure')
  record.add(`${name}: find the next`, 'nanoseconds', 'blkferry', searches)
  const marks = each(index => {
    const chunk = place(index)
    if (bitmap.set(chunk, chunk + 1) === 1) bitmap.clear(chunk, chunk + 1)
  })
  record.add(`${name}: mark and clear`, 'nanoseconds', 'blkferry', marks)
}

/** Nanoseconds of one of many calls. */
function each(call: (index: number) => void): number {
  const startedAt = performance.now()
  for (let index = 0; index < SEARCHES; index += 1) call(index)
  return ((performance.now() - startedAt) * 1e6) / SEARCHES
}

/** The compiler's share is not measured. */
function warmUp(): void {
  const storage = new Uint8Array(bitmapBytes(SIZE / 1024, GRANULARITY))
  const bitmap = new DirtyBitmap({ storage, size: SIZE / 1024, granularity: GRANULARITY })
  for (let index = 0; index < WARM_UP; index += 1) {
    const chunk = (index * STRIDE) % bitmap.chunks
    setOne(bitmap, chunk)
    bitmap.nextDirty(chunk)
    bitmap.clear(chunk, chunk + 1)
  }
}

function setOne(bitmap: DirtyBitmap, chunk: number): void {
  bitmap.set(chunk, chunk + 1)
}

function place(index: number): number {
  return (index * STRIDE) % CHUNKS
}
