/** The demo's proofs can fail: each is shown a disk on which what it looks for has been broken. */
import { open } from 'node:fs/promises'
import { NbdClient } from 'nbd-client-ts'
import { expect, test } from 'vitest'
import { createGuestImage } from '../../src/demo/guest-image.ts'
import { BLOCK_SIZE, fillBlock, sequenceOf } from '../../src/demo/numbered-block.ts'
import { compareDisks, fileSystemFault } from '../../src/demo/proof.ts'
import { VerifyingWriter } from '../../src/demo/verifying-writer.ts'
import { fastFolder, makeDisk, startServe } from '../support/blkferry.ts'
import { Random } from '../support/random.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024
const SIZE = 4 * MIB

async function overwrite(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  const file = await open(path, 'r+')
  await file.write(bytes, 0, bytes.length, offset).finally(() => file.close())
}

function makeWriter(): VerifyingWriter {
  const random = new Random(5)
  return new VerifyingWriter({
    blockCount: 64,
    offsetOf: index => index * BLOCK_SIZE,
    rate: 0,
    depth: 4,
    random: () => random.u32() / 2 ** 32,
  })
}

test('a numbered block knows its place, its write and every one of its bytes', () => {
  const block = new Uint8Array(BLOCK_SIZE)
  fillBlock(block, 7, 2 ** 40 + 3)
  expect(sequenceOf(block, 7)).toBe(2 ** 40 + 3)
  expect(sequenceOf(block, 8)).toBeUndefined()
  for (const at of [0, 5, 9, 13, 16, BLOCK_SIZE - 1]) {
    const damaged = block.slice()
    damaged[at] = (damaged[at] ?? 0) ^ 1
    expect(sequenceOf(damaged, 7)).toBeUndefined()
  }
})

test('a writer finds a write that is lost, one that is old and one that is damaged', async () => {
  await using folder = await temporary(await fastFolder())
  const path = await makeDisk(folder.file('disk'), SIZE)
  await using serve = await startServe(folder, 'serve', { path })
  await using client = await NbdClient.connect(serve.uri)
  const writer = makeWriter()
  writer.attach(client)
  await expect.poll(() => writer.count, { timeout: 30_000 }).toBeGreaterThan(2000)
  await writer.stop()
  const { checked, lost } = await writer.verify(client)
  expect(checked).toBe(64)
  expect(lost).toEqual([])

  const old = new Uint8Array(BLOCK_SIZE)
  fillBlock(old, 1, 1)
  await client.write(0, new Uint8Array(BLOCK_SIZE))
  await client.write(BLOCK_SIZE, old)
  await client.write(2 * BLOCK_SIZE + 1024, new Uint8Array(512))
  const broken = (await writer.verify(client)).lost
  expect(broken.map(({ offset, found }) => [offset, found]).sort()).toEqual([
    [0, undefined],
    [BLOCK_SIZE, 1],
    [2 * BLOCK_SIZE, undefined],
  ])
})

test('a writer repeats on the next connection what the last one did not answer', async () => {
  await using folder = await temporary(await fastFolder())
  const path = await makeDisk(folder.file('disk'), SIZE)
  const first = await startServe(folder, 'serve', { path })
  const writer = makeWriter()
  writer.attach(await NbdClient.connect(first.uri))
  await expect.poll(() => writer.count, { timeout: 30_000 }).toBeGreaterThan(100)
  first.kill('SIGKILL')
  await first.ended
  await using second = await startServe(folder, 'serve', { path })
  await using client = await NbdClient.connect(second.uri)
  const { count } = writer
  writer.attach(client)
  await expect.poll(() => writer.count, { timeout: 30_000 }).toBeGreaterThan(count + 100)
  await writer.stop()
  expect(writer.errors).toEqual([])
  expect((await writer.verify(client)).lost).toEqual([])
})

test('a comparison finds a block that differs, unless it may', async () => {
  await using folder = await temporary(await fastFolder())
  const path = await makeDisk(folder.file('disk'), SIZE + 512)
  const copy = await makeDisk(folder.file('copy'), SIZE + 512)
  await overwrite(copy, MIB + 5000, Buffer.from('x'))
  await overwrite(copy, SIZE + 511, Buffer.from('x'))
  await using serve = await startServe(folder, 'serve', { path: copy })
  await using client = await NbdClient.connect(serve.uri)
  const strict = await compareDisks(path, client, new Set())
  expect(strict.wrong).toEqual([MIB + BLOCK_SIZE, SIZE])
  const lenient = await compareDisks(path, client, new Set([MIB + BLOCK_SIZE]))
  expect(lenient).toMatchObject({ wrong: [SIZE], changed: 1 })
})

describeWith(['mke2fs', 'debugfs', 'e2fsck'], 'a file system', () => {
  test('is clean after writes to its database, and not after others', async () => {
    await using folder = await temporary(await fastFolder())
    const image = await createGuestImage(folder.path, 64 * MIB, new AbortController().signal)
    expect(image.hasFileSystem).toBe(true)
    const block = new Uint8Array(BLOCK_SIZE)
    for (let index = 0; index < image.blockCount; index += 100) {
      fillBlock(block, index, 1)
      await overwrite(image.path, image.offsetOf(index), block)
    }
    expect(await fileSystemFault(image.path)).toBeUndefined()
    await overwrite(image.path, 2 * BLOCK_SIZE, block)
    expect(await fileSystemFault(image.path)).toMatch(/e2fsck/)
  })
})
