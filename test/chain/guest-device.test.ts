/** Which devices can be put under a proxy, and how a guest's device finds its way back. */
import { describe, expect, test } from 'vitest'
import { DiskPathError } from '../../src/chain/disk-path.ts'
import { GuestDevice } from '../../src/chain/guest-device.ts'
import { DeviceMapper } from '../../src/host/device-mapper.ts'
import { linearTable, type Table } from '../../src/host/dm-table.ts'
import { FakeDeviceMapper } from '../host/fake-device-mapper.ts'

const SECTORS = 2048
const plain = linearTable('8:1', SECTORS)

async function make(table: Table = plain) {
  const mapper = new DeviceMapper(new FakeDeviceMapper(), 50)
  await mapper.create('web1', table)
  return mapper
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(DiskPathError)
  expect((error as DiskPathError).code).toBe('device')
  return (error as DiskPathError).message
}

describe('a device is refused', () => {
  test('if there is none of that name', async () => {
    expect(await refusal(GuestDevice.open(await make(), 'web2'))).toMatch(/no device-mapper/)
  })

  test('if the path leads to something else', async () => {
    expect(await refusal(GuestDevice.open(await make(), '/dev/null'))).toMatch(/no block device/)
  })

  test('while it is suspended', async () => {
    const mapper = await make()
    await mapper.suspend('web1')
    expect(await refusal(GuestDevice.open(mapper, 'web1'))).toMatch(/suspended/)
  })

  test('while a table of somebody else waits in it', async () => {
    const mapper = await make()
    await mapper.load('web1', plain)
    expect(await refusal(GuestDevice.open(mapper, 'web1'))).toMatch(/table is loaded/)
  })

  test.each([
    ['snapshot', { kind: 'snapshot', parameters: '8:1 8:2 P 8' }],
    ['thin', { kind: 'thin', parameters: '253:4 1' }],
    ['crypt', { kind: 'crypt', parameters: 'aes-xts-plain64 :64:logon:x 0 8:1 0' }],
  ])('if its mapping keeps a state of its own, as %s does', async (kind, mapping) => {
    const mapper = await make([{ type: 'other', start: 0, length: SECTORS, ...mapping }])
    expect(await refusal(GuestDevice.open(mapper, 'web1'))).toContain(kind)
  })

  test('if it is part of a session itself', async () => {
    const mapper = await make()
    await mapper.create('blkferry-s1-xvda-fence', plain)
    const said = await refusal(GuestDevice.open(mapper, 'blkferry-s1-xvda-fence'))
    expect(said).toMatch(/part of a session/)
  })
})

test('a device that stands on another session is refused', async () => {
  const mapper = await make()
  const below = await mapper.create('blkferry-s1-xvda-mp', plain)
  await mapper.create('web2', linearTable(`${below.major}:${below.minor}`, SECTORS))
  expect(await refusal(GuestDevice.open(mapper, 'web2'))).toMatch(/a session has it already/)
})

test('a device of several stripes and pieces is taken', async () => {
  const parameters = '2 128 8:1 0 8:2 0'
  const table: Table = [
    ...plain,
    { type: 'other', start: SECTORS, length: 1024, kind: 'striped', parameters },
  ]
  const guest = await GuestDevice.open(await make(table), 'web1')
  expect(guest.plain).toEqual(table)
  expect(guest.size).toBe((SECTORS + 1024) * 512)
})

describe('back to the plain table', () => {
  test('comes a suspended device, and goes on', async () => {
    const mapper = await make()
    const guest = await GuestDevice.open(mapper, 'web1')
    await guest.suspend()
    await guest.swapToPlain()
    expect((await mapper.status('web1')).isSuspended).toBe(false)
    expect(await mapper.table('web1')).toEqual(plain)
  })

  test('need not come one that its owner has removed', async () => {
    const mapper = await make()
    const guest = await GuestDevice.open(mapper, 'web1')
    await mapper.remove('web1')
    await guest.swapToPlain()
    expect(await mapper.list()).toEqual([])
  })

  test('comes a device for which nothing has to be done, and nothing is', async () => {
    const kernel = new FakeDeviceMapper()
    const mapper = new DeviceMapper(kernel, 50)
    await mapper.create('web1', plain)
    const guest = await GuestDevice.open(mapper, 'web1')
    kernel.calls.length = 0
    await guest.swapToPlain()
    expect(kernel.calls.some(call => /^(6|9) /.test(call))).toBe(false)
  })
})

describe('a device to which its owner has given a table of his own', () => {
  const snapshot: Table = [
    { type: 'other', start: 0, length: SECTORS, kind: 'snapshot-origin', parameters: '253:4' },
  ]
  const longer: Table = linearTable('8:1', 2 * SECTORS)
  const BELOW = '253:9'

  /** In a session, on `BELOW`. */
  async function proxied() {
    const mapper = await make(linearTable(BELOW, SECTORS))
    return { mapper, guest: new GuestDevice(mapper, 'web1', plain, BELOW) }
  }

  async function change(mapper: DeviceMapper, table: Table): Promise<void> {
    await mapper.load('web1', table)
    await mapper.resume('web1')
  }

  test('is known by one look, and ours is not taken for it', async () => {
    const { mapper, guest } = await proxied()
    expect(await guest.isBypassed()).toBe(false)
    await guest.suspend()
    expect(await guest.isBypassed()).toBe(false)
    await change(mapper, plain)
    expect(await guest.isBypassed()).toBe(true)
  })

  test('does not come into a session any more', async () => {
    const mapper = await make()
    const guest = await GuestDevice.open(mapper, 'web1')
    await change(mapper, snapshot)
    expect(await refusal(guest.swapOnto(BELOW))).toMatch(/another table/)
    await guest.swapToPlain()
    expect(await mapper.table('web1')).toEqual(snapshot)
  })

  test.each([
    ['as it was', plain],
    ['to a longer one', longer],
    ['of a snapshot', snapshot],
    ['onto the same device elsewhere', linearTable(BELOW, SECTORS, 8)],
  ])('is not sealed: %s', async (_, table) => {
    const { mapper, guest } = await proxied()
    await change(mapper, table)
    expect(await refusal(guest.suspend())).toMatch(/^web1 was given another table.*migrate again$/)
  })

  test('is not sealed while his table waits, and goes on with it', async () => {
    const { mapper, guest } = await proxied()
    await mapper.load('web1', snapshot)
    expect(await refusal(guest.suspend())).toMatch(/another table/)
    await guest.swapToPlain()
    expect(await mapper.table('web1')).toEqual(snapshot)
    expect(await mapper.status('web1')).toMatchObject({ isSuspended: false, hasLoadedTable: false })
  })

  test('is left to him while he is at it', async () => {
    const { mapper, guest } = await proxied()
    await mapper.load('web1', longer)
    const done = guest.swapToPlain()
    await mapper.suspend('web1')
    await mapper.resume('web1')
    await done
    expect(await mapper.table('web1')).toEqual(longer)
  })

  test.each([
    ['longer', longer],
    ['of a snapshot', snapshot],
  ])('keeps it, and goes on: %s', async (_, table) => {
    const { mapper, guest } = await proxied()
    await change(mapper, table)
    await refusal(guest.suspend())
    await guest.swapToPlain()
    expect(await mapper.table('web1')).toEqual(table)
    expect((await mapper.status('web1')).isSuspended).toBe(false)
  })

  test('does not get ours instead, if that was loaded before', async () => {
    const { mapper, guest } = await proxied()
    await change(mapper, longer)
    await mapper.load('web1', plain)
    await guest.swapToPlain()
    expect(await mapper.table('web1')).toEqual(longer)
    expect((await mapper.status('web1')).hasLoadedTable).toBe(false)
  })
})
