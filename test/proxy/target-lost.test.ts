/**
 * The target hangs or dies. The client notices at most a short wait, the mirror comes back by
 * itself, and sends only what is dirty.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { ServeProcess } from '../../src/demo/serve-process.ts'
import {
  fastFolder,
  firstDifference,
  makeDisk,
  makeEmpty,
  socketUri,
  startServe,
} from '../support/blkferry.ts'
import { prepare } from '../support/migration.ts'
import { startNbdkit } from '../support/peers.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024
const SIZE = 32 * MIB
const STALL_MS = 100
const HANG_MS = 5000

async function hang(start: (socket: string, copy: string) => Promise<HangingTarget>) {
  await using folder = await temporary(await fastFolder())
  const path = await makeDisk(folder.file('disk'), SIZE)
  const copy = await makeEmpty(folder.file('copy'), SIZE)
  const socket = folder.file('target.nbd')
  const target = await start(socket, copy)
  try {
    await using source = await prepare(folder, { path, size: SIZE, rate: 300 })
    const { writer, client, mirror } = source
    writer.attach(client)
    await mirror.start(socketUri(socket), { stallMs: STALL_MS })
    await mirror.synced()
    const { latencies } = writer.startPhase('hung')
    process.kill(target.pid, 'SIGSTOP')
    await sleep(HANG_MS)
    process.kill(target.pid, 'SIGCONT')
    const { stalls } = await mirror.synced()
    await writer.stop()
    expect(writer.errors).toEqual([])
    expect(stalls).toBeGreaterThan(0)
    expect(latencies.count).toBeGreaterThan(100)
    expect(latencies.summary().max).toBeLessThan(3 * STALL_MS)
    await mirror.complete({ verify: true })
  } finally {
    await target[Symbol.asyncDispose]()
  }
  expect(await firstDifference(path, copy)).toBeUndefined()
}

interface HangingTarget extends AsyncDisposable {
  readonly pid: number
}

test('a target of ours that hangs in write-blocking holds no write up', async () => {
  await hang((socket, path) => ServeProcess.start({ path, listen: socketUri(socket) }))
})

describeWith(['nbdkit'], 'nbdkit', () => {
  test('as a target that hangs in write-blocking holds no write up', async () => {
    await hang((socket, copy) => startNbdkit(socket, ['file', copy]))
  })
})

test('a target that is killed and comes back gets the difference', async () => {
  await using folder = await temporary(await fastFolder())
  const path = await makeDisk(folder.file('disk'), SIZE)
  const copy = await makeEmpty(folder.file('copy'), SIZE)
  const target = await startServe(folder, 'target', { path: copy })
  await using source = await prepare(folder, { path, size: SIZE, rate: 100 })
  const { writer, client, mirror } = source
  await mirror.start(target.uri)
  await mirror.synced()
  await sleep(1500)
  const { copiedBytes } = await mirror.status()
  target.kill('SIGKILL')
  await target.ended
  writer.attach(client)
  await mirror.until(({ state }) => state === 'waiting')
  await sleep(500)
  await writer.stop()
  const { dirtyBytes } = await mirror.status()
  expect(dirtyBytes).toBeGreaterThan(0)
  await using again = await startServe(folder, 'target', { path: copy })
  const status = await mirror.synced()
  expect(again.uri).toBe(target.uri)
  expect(status.reconnects).toBeGreaterThan(0)
  expect(status.copiedBytes - copiedBytes).toBeLessThanOrEqual(dirtyBytes)
  expect(writer.errors).toEqual([])
  await mirror.complete({ verify: true })
  expect(await firstDifference(path, copy)).toBeUndefined()
})
