import { describe, expect, it } from 'vitest'
import {
  BitmapFileError,
  bitmapFileBytes,
  createBitmapFile,
  granularityProblem,
  openBitmapFile,
  readBitmapIdentity,
} from '../../src/mirror/bitmap-file.ts'

const IDENTITY = {
  size: 10 * 65536 + 512,
  granularity: 65536,
  disk: '/dev/vg/guest',
  target: 'nbd://b/x',
}

function create(): Uint8Array {
  const file = new Uint8Array(bitmapFileBytes(IDENTITY.size, IDENTITY.granularity))
  createBitmapFile(file, IDENTITY)
  return file
}

function codeOf(action: () => unknown): string {
  try {
    action()
    return 'none'
  } catch (error) {
    if (!(error instanceof BitmapFileError)) throw error
    expect(error.message).toMatch(/anew|identity/)
    return error.code
  }
}

describe('bitmap file', () => {
  it('starts with every chunk dirty', () => {
    expect(openBitmapFile(create(), IDENTITY).bitmap.dirtyCount).toBe(11)
  })

  it('says what it is about', () => {
    expect(readBitmapIdentity(create())).toEqual(IDENTITY)
  })

  it('keeps clean chunks clean over a restart', () => {
    const file = create()
    openBitmapFile(file, IDENTITY).bitmap.clear(2, 5)
    expect(openBitmapFile(file, IDENTITY).bitmap.dirtyCount).toBe(8)
  })

  it('makes runs dirty again that were being copied', () => {
    const file = create()
    openBitmapFile(file, IDENTITY).takeRun(3, 2, 5)
    const { bitmap, claims } = openBitmapFile(file, IDENTITY)
    expect(bitmap.dirtyCount).toBe(11)
    claims.record(3, 0, 1)
  })

  it('makes runs dirty again that the target had not flushed', () => {
    const file = create()
    const tracking = openBitmapFile(file, IDENTITY)
    tracking.takeRun(0, 0, 4)
    tracking.settleRun(0, 0, 4, true)
    const snapshot = tracking.log.snapshot()
    tracking.takeRun(0, 4, 8)
    tracking.settleRun(0, 4, 8, true)
    tracking.log.flushed(snapshot)
    const { bitmap } = openBitmapFile(file, IDENTITY)
    expect(bitmap.dirtyCount).toBe(7)
    expect(bitmap.nextDirty(0)).toBe(4)
  })

  it.each([
    ['disk', { ...IDENTITY, disk: '/dev/vg/other' }],
    ['size', { ...IDENTITY, size: 65536 }],
    ['target', { ...IDENTITY, target: 'nbd://c/x' }],
  ])('of another %s is refused and left alone', (code, expected) => {
    const file = create()
    const before = file.slice()
    expect(codeOf(() => openBitmapFile(file, expected))).toBe(code)
    expect(Buffer.compare(file, before)).toBe(0)
  })

  it('with any byte of its header changed is refused', () => {
    for (let at = 0; at < 2120; at++) {
      const file = create()
      file[at]! ^= 0x10
      expect(
        codeOf(() => openBitmapFile(file, IDENTITY)),
        `byte ${at}`,
      ).toMatch(/damaged|version/)
    }
  })

  it('cut short is refused', () => {
    const file = create()
    expect(codeOf(() => openBitmapFile(file.subarray(0, 100), IDENTITY))).toBe('damaged')
    expect(codeOf(() => openBitmapFile(file.subarray(0, file.length - 4096), IDENTITY))).toBe(
      'damaged',
    )
  })

  it('refuses a granularity that is no power of two, too small, too large, or too fine', () => {
    expect(granularityProblem(2 ** 30, 65536)).toBeUndefined()
    expect(granularityProblem(2 ** 30, 65535)).toMatch(/power of two/)
    expect(granularityProblem(2 ** 30, 512)).toMatch(/4 KiB/)
    expect(granularityProblem(2 ** 30, 2 ** 21)).toMatch(/1 MiB/)
    expect(granularityProblem(2 ** 44, 4096)).toMatch(/needs a granularity/)
  })
})
