/**
 * The proxy is killed without warning and started again with its bitmap: the migration goes on,
 * only what is dirty is sent again, and nothing that was acknowledged is lost.
 */
import { NbdClient } from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { VerifyingWriter } from '../../src/demo/verifying-writer.ts'
import {
  ENGINES,
  type EngineName,
  fastFolder,
  firstDifference,
  MirrorControl,
  makeDisk,
  makeEmpty,
  socketUri,
  startServe,
} from '../support/blkferry.ts'
import { Random } from '../support/random.ts'
import { temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024
const SIZE = 64 * MIB
const BLOCK = 4096

function makeWriter(rate: number): VerifyingWriter {
  const random = new Random(11)
  return new VerifyingWriter({
    blockCount: SIZE / BLOCK,
    offsetOf: index => index * BLOCK,
    rate,
    depth: 8,
    random: () => random.u32() / 2 ** 32,
  })
}

/** Mirrors until `moment`, kills the proxy, starts it again and completes. */
async function crash(
  engine: EngineName,
  bandwidth: number,
  moment: (mirror: MirrorControl) => Promise<unknown>,
): Promise<{ sentBefore: number; dirtyAfter: number; sentAfter: number }> {
  await using folder = await temporary(await fastFolder())
  const path = await makeDisk(folder.file('disk'), SIZE)
  const copy = await makeEmpty(folder.file('copy'), SIZE)
  const words = ['--engine', engine, '--bitmap', folder.file('bitmap')]
  await using target = await startServe(folder, 'target', { path: copy })
  const first = await startServe(folder, 'source', { path, words })
  const writer = makeWriter(20)
  writer.attach(await NbdClient.connect(first.uri))
  const before = await MirrorControl.connect(folder, 'source')
  await before.start(target.uri, { bandwidth })
  await moment(before)
  const { copiedBytes: sentBefore } = await before.status()
  first.kill('SIGKILL')
  await first.ended
  before[Symbol.dispose]()
  writer.detach()

  await using second = await startServe(folder, 'source', { path, words })
  await using client = await NbdClient.connect(second.uri)
  writer.attach(client)
  using after = await MirrorControl.connect(folder, 'source')
  const { dirtyBytes: dirtyAfter } = await after.start(target.uri)
  await after.ready()
  await after.complete({ verify: true, resume: true })
  const { copiedBytes: sentAfter } = await after.status()
  await writer.stop()
  expect(writer.errors).toEqual([])
  // The clients went on at the source after the switchover; what was open then is in both or not.
  const { checked, lost } = await writer.verify(client)
  expect(checked).toBeGreaterThan(0)
  expect(lost).toEqual([])
  return { sentBefore, dirtyAfter, sentAfter }
}

describe.each(ENGINES)('a proxy on %s that is killed', engine => {
  test('in the middle of the copy goes on where it was', async () => {
    // At this rate it takes more than two seconds, and the target is flushed every second: what was
    // written since the last flush counts as dirty, because the target may have lost it.
    const { sentBefore, dirtyAfter, sentAfter } = await crash(engine, 8 * MIB, mirror =>
      mirror.until(({ copiedBytes }) => copiedBytes > 24 * MIB),
    )
    expect(sentBefore).toBeGreaterThan(24 * MIB)
    expect(dirtyAfter).toBeLessThan(SIZE - 8 * MIB)
    expect(sentAfter).toBeLessThan(24 * MIB)
  })

  test('in write-blocking sends next to nothing again', async () => {
    const { dirtyAfter } = await crash(engine, 0, async mirror => {
      await mirror.synced()
      await new Promise(resolve => setTimeout(resolve, 1500))
    })
    // The writes that the target had not flushed, at 64 KiB each.
    expect(dirtyAfter).toBeLessThan(SIZE / 4)
  })
})

test('after the restart the target has every acknowledged write', async () => {
  await using folder = await temporary(await fastFolder())
  const path = await makeDisk(folder.file('disk'), SIZE)
  const copy = await makeEmpty(folder.file('copy'), SIZE)
  const words = ['--bitmap', folder.file('bitmap')]
  await using target = await startServe(folder, 'target', { path: copy })
  const first = await startServe(folder, 'source', { path, words })
  const writer = makeWriter(400)
  writer.attach(await NbdClient.connect(first.uri))
  const before = await MirrorControl.connect(folder, 'source')
  await before.start(target.uri)
  await before.synced()
  first.kill('SIGKILL')
  await first.ended
  before[Symbol.dispose]()
  writer.detach()
  await using second = await startServe(folder, 'source', { path, words })
  // It is held at the end, and goes with the server.
  const client = await NbdClient.connect(second.uri)
  writer.attach(client)
  using after = await MirrorControl.connect(folder, 'source')
  await after.start(target.uri)
  await after.ready()
  await after.complete()
  writer.detach()
  await using reader = await NbdClient.connect(socketUri(folder.file('target.nbd')))
  const { checked, lost } = await writer.verify(reader)
  expect(checked).toBeGreaterThan(0)
  expect(lost).toEqual([])
  expect(await firstDifference(path, copy)).toBeUndefined()
})
