/** Where the dirty bits are kept: they outlive a killed process, and are never believed wrongly. */
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { describe, expect, test } from 'vitest'
import { bitmapFileBytes, createBitmapFile } from '../../src/mirror/bitmap-file.ts'
import { BitmapStore } from '../../src/proxy/bitmap-store.ts'
import { makeEmpty } from '../support/blkferry.ts'
import { describeWith } from '../support/requires.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const SIZE = 1024 * 1024
const GRANULARITY = 65536
const TARGET = 'nbd://b/x'

async function makeStore(folder: Temporary, bitmap = folder.file('bitmap')): Promise<BitmapStore> {
  return new BitmapStore(bitmap, await makeEmpty(folder.file('disk'), SIZE), SIZE)
}

/** As a killed process leaves its file: nothing was removed, and the kernel took the lock away. */
async function leaveBehind(folder: Temporary): Promise<string> {
  const path = folder.file('bitmap')
  const store = await makeStore(folder)
  store.open(TARGET, GRANULARITY).bitmap.clear(2, 5)
  const bytes = readFileSync(path)
  store.remove()
  writeFileSync(path, bytes)
  return path
}

describe('bitmap store', () => {
  test('the bits outlive the process', async () => {
    await using folder = await temporary()
    await leaveBehind(folder)
    const store = await makeStore(folder)
    expect(store.restore()!.bitmap.dirtyCount).toBe(13)
    expect(store.isFor(TARGET, GRANULARITY)).toBe(true)
    expect(store.isFor('nbd://other/', GRANULARITY)).toBe(false)
    store.remove()
    expect(existsSync(folder.file('bitmap'))).toBe(false)
  })

  test('there is nothing to restore before the first mirror, nor from an empty file', async () => {
    await using folder = await temporary()
    const store = await makeStore(folder)
    expect(store.restore()).toBeUndefined()
    writeFileSync(folder.file('bitmap'), '')
    expect(store.restore()).toBeUndefined()
    expect(store.open(TARGET, GRANULARITY).bitmap.dirtyCount).toBe(16)
    store.remove()
  })

  test('every byte of the file has a block from the start', async () => {
    await using folder = await temporary()
    const store = await makeStore(folder)
    store.open(TARGET, GRANULARITY)
    const { size, blocks } = statSync(folder.file('bitmap'))
    expect(size).toBe(bitmapFileBytes(SIZE, GRANULARITY))
    expect(blocks * 512).toBeGreaterThanOrEqual(size)
    store.remove()
  })

  test.each([
    ['is no bitmap', (path: string) => writeFileSync(path, 'precious'), 'damaged'],
    ['was cut short', (path: string) => truncateSync(path, 8192), 'damaged'],
  ])('a file that %s is refused and left as it is', async (_, spoil, message) => {
    await using folder = await temporary()
    const path = await leaveBehind(folder)
    spoil(path)
    const before = readFileSync(path)
    const store = await makeStore(folder)
    expect(() => store.restore()).toThrow(message)
    expect(readFileSync(path).equals(before)).toBe(true)
  })

  test('bits about another disk, or one of another size, are refused', async () => {
    await using folder = await temporary()
    const path = await leaveBehind(folder)
    const other = await makeEmpty(folder.file('other'), SIZE)
    expect(() => new BitmapStore(path, other, SIZE).restore()).toThrow(
      /about disk file .* remove it/,
    )
    const grown = new BitmapStore(path, folder.file('disk'), 2 * SIZE)
    expect(() => grown.restore()).toThrow(/about size 1048576 .* remove it/)
  })

  test('bits from before a boot are refused: a crash may have lost some', async () => {
    await using folder = await temporary()
    const path = await leaveBehind(folder)
    const bytes = new Uint8Array(bitmapFileBytes(SIZE, GRANULARITY))
    const { dev, ino } = statSync(folder.file('disk'))
    const disk = `file ${dev}:${ino}, boot 00000000-0000-0000-0000-000000000000`
    createBitmapFile(bytes, { disk, size: SIZE, target: TARGET, granularity: GRANULARITY })
    writeFileSync(path, bytes)
    const store = await makeStore(folder)
    expect(() => store.restore()).toThrow(/before the last boot.* remove it/)
  })

  test('two stores never share a file', async () => {
    await using folder = await temporary()
    const first = await makeStore(folder)
    const { bitmap } = first.open(TARGET, GRANULARITY)
    const other = new BitmapStore(folder.file('bitmap'), folder.file('disk'), SIZE)
    expect(() => other.open(TARGET, GRANULARITY)).toThrow('in use by another process')
    expect(() => other.restore()).toThrow('in use by another process')
    expect(bitmap.dirtyCount).toBe(16)
    first.remove()
  })

  test('a file that came meanwhile is not overwritten', async () => {
    await using folder = await temporary()
    const store = await makeStore(folder)
    expect(store.restore()).toBeUndefined()
    writeFileSync(folder.file('bitmap'), 'precious')
    expect(() => store.open(TARGET, GRANULARITY)).toThrow('not empty')
    expect(readFileSync(folder.file('bitmap'), 'utf8')).toBe('precious')
  })

  test('what cannot be made leaves nothing behind', async () => {
    await using folder = await temporary()
    const nowhere = await makeStore(folder, folder.file('missing/bitmap'))
    expect(() => nowhere.open(TARGET, GRANULARITY)).toThrow(/missing\/bitmap: ENOENT/)
    const store = await makeStore(folder)
    expect(() => store.open(TARGET, 1000)).toThrow('power of two')
    expect(existsSync(folder.file('bitmap'))).toBe(false)
    mkdirSync(folder.file('bitmap'))
    expect(() => store.open(TARGET, GRANULARITY)).toThrow('EISDIR')
  })

  test('a folder that is gone does not keep the bits from being removed', async () => {
    await using folder = await temporary()
    mkdirSync(folder.file('gone'))
    const store = await makeStore(folder, folder.file('gone/bitmap'))
    store.open(TARGET, GRANULARITY)
    rmSync(folder.file('gone'), { recursive: true })
    store.remove()
    expect(store.tracking).toBeUndefined()
  })

  test('no file descriptor is left', async () => {
    await using folder = await temporary()
    const before = descriptors()
    await leaveBehind(folder)
    const store = await makeStore(folder)
    store.restore()
    store.remove()
    expect(() => store.open(TARGET, 1000)).toThrow()
    expect(descriptors()).toBe(before)
  })
})

describeWith(['root', 'mount'], 'a bitmap on a full tmpfs', () => {
  test('is an error at the start and not a crash at a later store', async () => {
    await using folder = await temporary()
    mkdirSync(folder.file('small'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder.file('small')])
    try {
      const store = await makeStore(folder, folder.file('small/bitmap'))
      expect(() => store.open(TARGET, GRANULARITY)).toThrow('ENOSPC')
      expect(existsSync(folder.file('small/bitmap'))).toBe(false)
    } finally {
      execFileSync('umount', [folder.file('small')])
    }
  })
})

function descriptors(): number {
  return Number(
    execFileSync('sh', ['-c', `ls /proc/${process.pid}/fd | wc -l`], { encoding: 'utf8' }),
  )
}
