import fs from 'node:fs'
import { expect, it } from 'vitest'
import { mapAnonymous } from '../../../src/io/mmap.ts'
import { expectBytes, expectZeroes } from '../../support/bytes.ts'
import { pattern, result, type Subject } from '../conformance.ts'

const GiB = 2 ** 30

export function testFiles(subject: Subject): void {
  const open = (name: string, flags = 0): number =>
    fs.openSync(subject.folder.file(name), fs.constants.O_RDWR | fs.constants.O_CREAT | flags)
  const memory = mapAnonymous(8 * 1024 * 1024)
  const { bytes } = memory
  const read = (fd: number, at: number, length: number, offset: number): Promise<number> =>
    result(operation => subject.engine.read(fd, memory, at, length, offset, operation))
  const write = (fd: number, at: number, length: number, offset: number): Promise<number> =>
    result(operation => subject.engine.write(fd, memory, at, length, offset, operation))

  it('reads back what it wrote, at odd offsets and lengths', async () => {
    const fd = open('odd')
    for (const [at, length, offset] of [
      [0, 1, 0],
      [3, 4097, 511],
      [4095, 65537, 123457],
      [7, 1048575, 999999],
    ] as const) {
      const expected = pattern(bytes.subarray(at, at + length), offset).slice()
      expect(await write(fd, at, length, offset)).toBe(length)
      bytes.fill(0xee)
      expect(await read(fd, at + 1, length, offset)).toBe(length)
      expectBytes(bytes.subarray(at + 1, at + 1 + length), expected)
      expect(bytes[at]).toBe(0xee)
      expect(bytes[at + 1 + length]).toBe(0xee)
    }
    fs.closeSync(fd)
  })

  it('agrees with node:fs about where bytes are', async () => {
    const fd = open('agree')
    const expected = pattern(Buffer.alloc(100_000))
    fs.writeSync(fd, expected, 0, expected.length, 5000)
    expect(await read(fd, 0, expected.length, 5000)).toBe(expected.length)
    expectBytes(bytes.subarray(0, expected.length), expected)
    expect(await write(fd, 0, 3000, 1000)).toBe(3000)
    const found = Buffer.alloc(3000)
    fs.readSync(fd, found, 0, found.length, 1000)
    expectBytes(found, expected.subarray(0, 3000))
    fs.closeSync(fd)
  })

  it('reads short at the end of the file, and 0 beyond it', async () => {
    const fd = open('end')
    fs.ftruncateSync(fd, 10_000)
    expect(await read(fd, 0, 4096, 8192)).toBe(10_000 - 8192)
    expect(await read(fd, 0, 4096, 10_000)).toBe(0)
    expect(await read(fd, 0, 4096, 2 ** 40)).toBe(0)
    fs.closeSync(fd)
  })

  it.each([4 * GiB - 2048, 4 * GiB, 5 * GiB + 4097, 2 ** 40 + 513, 2 ** 43 + 1])(
    'reaches offset %d exactly',
    async offset => {
      const fd = open(`sparse-${offset}`)
      const expected = pattern(bytes.subarray(0, 4096), offset % 251).slice()
      expect(await write(fd, 0, 4096, offset)).toBe(4096)
      expect(fs.fstatSync(fd).size).toBe(offset + 4096)
      const found = Buffer.alloc(4096)
      fs.readSync(fd, found, 0, 4096, offset)
      expectBytes(found, expected)
      bytes.fill(1, 0, 8192)
      expect(await read(fd, 0, 8192, offset - 4096)).toBe(8192)
      expectZeroes(bytes.subarray(0, 4096))
      expectBytes(bytes.subarray(4096, 8192), expected)
      fs.closeSync(fd)
    },
  )

  it('keeps thousands of operations apart', async () => {
    const fd = open('many')
    const count = 5000
    const size = 512
    pattern(bytes.subarray(0, count * size))
    const expected = bytes.slice(0, count * size)
    // The place in the file is the place in memory turned round, so that a mix-up shows.
    const place = (index: number): number => (count - 1 - index) * size
    const indices = Array.from({ length: count }, (_, index) => index)
    const written = await Promise.all(indices.map(i => write(fd, i * size, size, place(i))))
    expect(written.every(outcome => outcome === size)).toBe(true)
    bytes.fill(0)
    const found = await Promise.all(indices.map(i => read(fd, i * size, size, place(i))))
    expect(found.every(outcome => outcome === size)).toBe(true)
    expectBytes(bytes.subarray(0, count * size), expected)
    fs.closeSync(fd)
  })

  it('reads and writes directly', async () => {
    const fd = open('direct', fs.constants.O_DIRECT)
    const expected = pattern(bytes.subarray(0, 1024 * 1024)).slice()
    expect(await write(fd, 0, expected.length, 8192)).toBe(expected.length)
    bytes.fill(0, 0, expected.length)
    expect(await read(fd, 0, expected.length, 8192)).toBe(expected.length)
    expectBytes(bytes.subarray(0, expected.length), expected)
    fs.closeSync(fd)
  })

  it('reads short at an end that is not aligned, directly as well', async () => {
    fs.writeFileSync(subject.folder.file('unaligned'), Buffer.alloc(8192 + 700, 5))
    const fd = open('unaligned', fs.constants.O_DIRECT)
    expect(await read(fd, 0, 8192, 4096)).toBe(4096 + 700)
    expectBytes(bytes.subarray(0, 4796), new Uint8Array(4796).fill(5))
    fs.closeSync(fd)
  })

  it('answers the negative errno of what fails', async () => {
    expect(await read(9999, 0, 4096, 0)).toBe(-9)
    const fd = fs.openSync(subject.folder.file('agree'), 'r')
    expect(await write(fd, 0, 4096, 0)).toBe(-9)
    fs.closeSync(fd)
    expect(await result(operation => subject.engine.sync(9999, operation))).toBe(-9)
  })

  it('settles a transfer of no bytes with 0', async () => {
    const fd = open('agree')
    expect(await read(fd, 0, 0, 0)).toBe(0)
    expect(await write(fd, 0, 0, 0)).toBe(0)
    fs.closeSync(fd)
  })
}
