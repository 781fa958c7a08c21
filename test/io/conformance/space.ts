import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { expect, it } from 'vitest'
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
} from '../../../src/io/libc.ts'
import { mapAnonymous } from '../../../src/io/mmap.ts'
import { expectBytes, expectZeroes } from '../../support/bytes.ts'
import { describeWith } from '../../support/requires.ts'
import { pattern, result, type Subject } from '../conformance.ts'

const ENOSPC = 28
const EBADF = 9
const MiB = 1024 * 1024

export function testSpace(subject: Subject): void {
  const memory = mapAnonymous(2 * MiB)
  const fallocate = (fd: number, mode: number, offset: number, length: number): Promise<number> =>
    result(operation => subject.engine.fallocate(fd, mode, offset, length, operation))

  it('syncs', async () => {
    const fd = fs.openSync(subject.folder.file('sync'), 'w+')
    fs.writeSync(fd, 'durable')
    expect(await result(operation => subject.engine.sync(fd, operation))).toBe(0)
    fs.closeSync(fd)
  })

  it('punches holes: they read as zeroes and take no space', async () => {
    const file = subject.folder.file('hole')
    const expected = pattern(Buffer.alloc(MiB))
    fs.writeFileSync(file, expected, { flush: true })
    const fd = fs.openSync(file, 'r+')
    const before = fs.fstatSync(fd).blocks
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    expect(await fallocate(fd, mode, 65536, 524288)).toBe(0)
    expect(fs.fstatSync(fd).blocks).toBeLessThan(before)
    const found = fs.readFileSync(file)
    expectZeroes(found.subarray(65536, 65536 + 524288))
    expectBytes(found.subarray(0, 65536), expected.subarray(0, 65536))
    expectBytes(found.subarray(65536 + 524288), expected.subarray(65536 + 524288))
    fs.closeSync(fd)
  })

  it('zeroes a range beyond 4 GiB without growing the file', async () => {
    const fd = fs.openSync(subject.folder.file('zero'), 'w+')
    const offset = 5 * 2 ** 30
    fs.writeSync(fd, pattern(Buffer.alloc(8192)), 0, 8192, offset)
    const mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE
    expect(await fallocate(fd, mode, offset + 4096, 2 ** 33)).toBe(0)
    expect(fs.fstatSync(fd).size).toBe(offset + 8192)
    const found = Buffer.alloc(4096)
    fs.readSync(fd, found, 0, 4096, offset + 4096)
    expectZeroes(found)
    fs.closeSync(fd)
  })

  it('answers the negative errno of a fallocate that fails', async () => {
    expect(await fallocate(9999, 0, 0, 4096)).toBe(-EBADF)
  })

  it('answers ENOSPC when not a byte fits', async () => {
    const fd = fs.openSync('/dev/full', 'r+')
    const wrote = result(o => subject.engine.write(fd, memory, 0, 4096, 0, o))
    expect(await wrote).toBe(-ENOSPC)
    fs.closeSync(fd)
  })

  describeWith(['root'], 'a small tmpfs', () => {
    it('writes short where the device fills up on the way', async () => {
      const folder = subject.folder.file('full')
      fs.mkdirSync(folder)
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder])
      try {
        const fd = fs.openSync(`${folder}/file`, 'w+')
        const wrote = await result(o => subject.engine.write(fd, memory, 0, 2 * MiB, 0, o))
        expect(wrote).toBeGreaterThan(0)
        expect(wrote).toBeLessThanOrEqual(MiB)
        const more = result(o => subject.engine.write(fd, memory, 0, 65536, MiB, o))
        expect(await more).toBe(-ENOSPC)
        fs.closeSync(fd)
      } finally {
        execFileSync('umount', [folder])
      }
    })
  })
}
