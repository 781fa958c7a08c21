/** What becomes of a device that is not ours, and how it comes back. */
import { expect, test } from 'vitest'
import { DmPlainDevices } from '../../src/daemon/plain-devices.ts'
import { DeviceMapper } from '../../src/host/device-mapper.ts'
import { fence } from '../../src/host/dm-swap.ts'
import { linearTable, type Table } from '../../src/host/dm-table.ts'
import { FakeDeviceMapper } from '../host/fake-device-mapper.ts'
import { temporary } from '../support/temporary.ts'

const DISK = '/dev/vg0/web1'
const NAME = 'vg0-web1'
/** As of a volume in two pieces. */
const TABLE: Table = [
  ...linearTable('8:1', 1024, 2048),
  { type: 'linear', start: 1024, length: 512, device: '8:2', offset: 0 },
]

async function setUp() {
  const folder = await temporary()
  const kernel = new FakeDeviceMapper()
  const mapper = new DeviceMapper(kernel)
  const { major, minor } = await mapper.create(NAME, TABLE)
  const open = (): DmPlainDevices => new DmPlainDevices(mapper, folder.file('plain'))
  const close = async (): Promise<void> => {
    await folder[Symbol.asyncDispose]()
  }
  return { kernel, mapper, numbers: `${major}:${minor}`, open, [Symbol.asyncDispose]: close }
}

test('a device is found by its numbers', async () => {
  await using all = await setUp()
  expect(await all.open().find(all.numbers)).toBe(NAME)
  expect(await all.open().find('8:1')).toBeUndefined()
})

test('one that fails everything gets its own table back, by another daemon too, once', async () => {
  await using all = await setUp()
  await all.open().keep(DISK, NAME)
  await fence(all.mapper, NAME)
  await all.open().restore(DISK)
  expect(await all.mapper.table(NAME)).toEqual(TABLE)
  expect(await all.mapper.status(NAME)).toMatchObject({ isSuspended: false, hasLoadedTable: false })
  await fence(all.mapper, NAME)
  await all.open().restore(DISK)
  expect((await all.mapper.table(NAME))[0]?.type).toBe('error')
})

test('a restore that the kernel refuses can be tried again', async () => {
  await using all = await setUp()
  await all.open().keep(DISK, NAME)
  await fence(all.mapper, NAME)
  all.kernel.failures.set(6, -22)
  await expect(all.open().restore(DISK)).rejects.toThrow()
  await all.open().restore(DISK)
  expect(await all.mapper.table(NAME)).toEqual(TABLE)
  expect((await all.mapper.status(NAME)).isSuspended).toBe(false)
})

test('one that its owner has made anew is left alone, and so is one that is gone', async () => {
  await using all = await setUp()
  await all.open().keep(DISK, NAME)
  const larger = linearTable('8:3', 4096)
  await all.mapper.load(NAME, larger)
  await all.mapper.resume(NAME)
  await all.open().restore(DISK)
  expect(await all.mapper.table(NAME)).toEqual(larger)
  await all.open().keep(DISK, NAME)
  await all.mapper.remove(NAME)
  await all.open().restore(DISK)
  expect(await all.mapper.list()).toEqual([])
})

test('nothing is known of a disk that was never kept, or was forgotten', async () => {
  await using all = await setUp()
  await all.open().restore(DISK)
  await all.open().keep(DISK, NAME)
  all.open().forget(DISK)
  all.open().forget(DISK)
  await fence(all.mapper, NAME)
  await all.open().restore(DISK)
  expect((await all.mapper.table(NAME))[0]?.type).toBe('error')
})
