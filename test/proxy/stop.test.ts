/** How a serving process ends, and what it leaves behind. */
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from 'nbd-client-ts'
import { expect, test } from 'vitest'
import { fastFolder, MirrorControl, makeDisk, makeEmpty, startServe } from '../support/blkferry.ts'
import { prepare } from '../support/migration.ts'
import { temporary } from '../support/temporary.ts'

const SIZE = 16 * 1024 * 1024

test('SIGTERM in the middle of a mirror ends it in order and leaves no bitmap', async () => {
  await using folder = await temporary(await fastFolder())
  const path = await makeDisk(folder.file('disk'), SIZE)
  const copy = await makeEmpty(folder.file('copy'), SIZE)
  await using target = await startServe(folder, 'target', { path: copy })
  const words = ['--bitmap', folder.file('bitmap')]
  await using source = await prepare(folder, { path, size: SIZE, words })
  source.writer.attach(source.client)
  await source.mirror.start(target.uri, { bandwidth: 1024 * 1024 })
  await sleep(200)
  expect(existsSync(folder.file('bitmap'))).toBe(true)
  source.serve.kill('SIGTERM')
  expect(await source.serve.ended).toBe(0)
  expect(existsSync(folder.file('bitmap'))).toBe(false)
  expect(existsSync(folder.file('source.nbd'))).toBe(false)
  expect(existsSync(folder.file('source.control'))).toBe(false)
  expect(source.writer.errors).toEqual([])
})

test(
  'clients that a switchover holds are dropped ' + 'by a stop, not answered with an error',
  async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    const copy = await makeEmpty(folder.file('copy'), SIZE)
    await using target = await startServe(folder, 'target', { path: copy })
    await using source = await startServe(folder, 'source', { path })
    using mirror = await MirrorControl.connect(folder, 'source')
    const client = await NbdClient.connect(source.uri)
    await mirror.start(target.uri)
    await mirror.ready()
    await mirror.complete()
    const held = client.write(0, new Uint8Array(4096))
    const outcome = held.then(
      () => 'answered',
      (error: Error) => error.name,
    )
    await sleep(200)
    source.kill('SIGTERM')
    expect(await source.ended).toBe(0)
    expect(await outcome).toBe('ConnectionError')
  },
)

test('clients that a switchover holds go on at the source after resume', async () => {
  await using folder = await temporary(await fastFolder())
  const path = await makeDisk(folder.file('disk'), SIZE)
  const copy = await makeEmpty(folder.file('copy'), SIZE)
  await using target = await startServe(folder, 'target', { path: copy })
  await using source = await startServe(folder, 'source', { path })
  using mirror = await MirrorControl.connect(folder, 'source')
  await using client = await NbdClient.connect(source.uri)
  await mirror.start(target.uri)
  await mirror.complete()
  let isAnswered = false
  const held = client.write(0, new Uint8Array(4096).fill(7)).then(() => {
    isAnswered = true
  })
  await sleep(200)
  expect(isAnswered).toBe(false)
  await mirror.resume()
  await held
  expect((await client.read(0, 4096))[0]).toBe(7)
})
