/** Disks of every shape migrate, and thin ones stay thin. */
import { open, stat } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { mustRun } from '../../src/demo/command.ts'
import {
  ENGINES,
  fastFolder,
  firstDifference,
  makeDisk,
  makeEmpty,
  startServe,
} from '../support/blkferry.ts'
import { migrate, prepare } from '../support/migration.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024

/** Sizes in bytes that are no multiple of the granularity, of 4096, of 512. */
const ODD_SIZES = [16 * MIB + 512, 16 * MIB + 4096 * 3, 16 * MIB + 4095 + 64 * 4096]

describe.each(ENGINES)('a file on %s', engine => {
  test.each(ODD_SIZES)('of %i bytes migrates under a writing client', async size => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), size)
    const copy = await makeEmpty(folder.file('copy'), size)
    const words = ['--engine', engine]
    await using target = await startServe(folder, 'target', { path: copy, words })
    await using source = await prepare(folder, { path, size, words })
    await migrate(source, target.uri)
    expect(await firstDifference(path, copy)).toBeUndefined()
  })
})

describeWith(['root', 'losetup'], 'a loop device', () => {
  test.each([512, 4096])('with sectors of %i bytes migrates to another', async sector => {
    await using folder = await temporary(await fastFolder())
    const size = 16 * MIB + sector * 3
    const files = [await makeDisk(folder.file('disk'), size), folder.file('copy')] as const
    await makeEmpty(files[1], size)
    const devices: string[] = []
    try {
      for (const file of files) {
        const argv = ['losetup', '--find', '--show', '--sector-size', String(sector), file]
        devices.push((await mustRun(argv)).trim())
      }
      await using target = await startServe(folder, 'target', { path: devices[1]! })
      await using source = await prepare(folder, { path: devices[0]!, size })
      await migrate(source, target.uri)
    } finally {
      for (const device of devices) await mustRun(['losetup', '--detach', device])
    }
    expect(await firstDifference(files[0], files[1])).toBeUndefined()
  })
})

test('a thin disk of 1 TiB sends its data only, and the target stays as thin', async () => {
  await using folder = await temporary(await fastFolder())
  const size = 2 ** 40
  const path = await makeEmpty(folder.file('disk'), size)
  const copy = await makeEmpty(folder.file('copy'), size)
  const piece = Buffer.alloc(4 * MIB, 'data')
  const disk = await open(path, 'r+')
  for (let index = 0; index < 32; index++) {
    await disk.write(piece, 0, piece.length, index * 33 * 2 ** 30)
  }
  await disk.close()
  await using target = await startServe(folder, 'target', { path: copy })
  await using source = await prepare(folder, { path, size: 64 * MIB, rate: 10 })
  const { writer, client, mirror } = source
  writer.attach(client)
  await mirror.start(target.uri)
  await mirror.ready()
  await writer.stop()
  const status = await mirror.complete()
  expect(status.copiedBytes).toBeLessThan(32 * piece.length + 64 * MIB)
  const [from, to] = await Promise.all([stat(path), stat(copy)])
  // The chunks that the client wrote a block of are copied whole.
  expect(to.blocks * 512).toBeLessThanOrEqual(from.blocks * 512 + writer.count * 65_536)
  const [left, right] = await Promise.all([open(path), open(copy)])
  const [a, b] = [Buffer.alloc(piece.length), Buffer.alloc(piece.length)]
  for (let index = 0; index < 32; index++) {
    await left.read(a, 0, a.length, index * 33 * 2 ** 30)
    await right.read(b, 0, b.length, index * 33 * 2 ** 30)
    expect(Buffer.compare(a, b)).toBe(0)
  }
  await Promise.all([left.close(), right.close()])
})
