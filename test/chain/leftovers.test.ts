/** What is left of a path after a crash, and how it goes away. */
import { readdirSync, writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { cleanUp, findLeftovers } from '../../src/chain/leftovers.ts'
import { chainNames } from '../../src/chain/names.ts'
import { writeRecord } from '../../src/chain/record.ts'
import { DeviceMapper } from '../../src/host/device-mapper.ts'
import { linearTable, multipathTable } from '../../src/host/dm-table.ts'
import type { KernelNbd } from '../../src/host/kernel-nbd.ts'
import { FakeDeviceMapper } from '../host/fake-device-mapper.ts'
import { temporary } from '../support/temporary.ts'

const SECTORS = 2048
const DEVICE = 'vg0-web1'
const plain = linearTable('8:1', SECTORS)

/** A guest's device that was sealed on the path of a daemon that has died. */
async function crashed() {
  const folder = await temporary()
  const kernel = new FakeDeviceMapper()
  const mapper = new DeviceMapper(kernel, 50)
  const names = chainNames('s1', 'xvda', folder.path)
  await mapper.create(names.fence, plain)
  const { major, minor } = await mapper.create(names.multipath, multipathTable('43:0', SECTORS))
  await mapper.create(DEVICE, linearTable(`${major}:${minor}`, SECTORS))
  await mapper.suspend(DEVICE)
  writeRecord(names.record, { session: 's1', disk: 'xvda', device: DEVICE, plain })
  for (const file of [names.log, names.bitmap]) writeFileSync(file, '')
  const nbd = {} as KernelNbd
  const options = { mapper, nbd, runFolder: folder.path, log: pino({ level: 'silent' }) }
  const close = async (): Promise<void> => {
    await folder[Symbol.asyncDispose]()
  }
  return { kernel, mapper, options, folder: folder.path, [Symbol.asyncDispose]: close }
}

test('one that was given away fails, and no device and no file of its path stays', async () => {
  await using all = await crashed()
  const [left] = await findLeftovers(all.options)
  expect(left).toMatchObject({ session: 's1', disk: 'xvda', device: DEVICE, state: 'sealed' })
  await cleanUp(left!, 'discard', all.options)
  expect((await all.mapper.list()).map(({ name }) => name)).toEqual([DEVICE])
  expect((await all.mapper.table(DEVICE))[0]?.type).toBe('error')
  expect(readdirSync(all.folder)).toEqual([])
  expect(await findLeftovers(all.options)).toEqual([])
})

test('one whose owner has made another table keeps it, goes on, and the rest is gone', async () => {
  await using all = await crashed()
  const longer = linearTable('8:1', 2 * SECTORS)
  await all.mapper.load(DEVICE, longer)
  await all.mapper.resume(DEVICE)
  await all.mapper.suspend(DEVICE)
  const [left] = await findLeftovers(all.options)
  await cleanUp(left!, 'restore', all.options)
  expect(await all.mapper.table(DEVICE)).toEqual(longer)
  expect((await all.mapper.status(DEVICE)).isSuspended).toBe(false)
  expect((await all.mapper.list()).map(({ name }) => name)).toEqual([DEVICE])
  expect(await findLeftovers(all.options)).toEqual([])
})
