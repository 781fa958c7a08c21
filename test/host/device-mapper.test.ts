/** The caller over bytes that behave as a kernel's; and the error where this machine has none. */
import { statSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { DeviceMapper } from '../../src/host/device-mapper.ts'
import { minorOf, openControl } from '../../src/host/dm-control.ts'
import { DeviceMapperError } from '../../src/host/dm-error.ts'
import { deviceNode } from '../../src/host/dm-node.ts'
import { fence, logicalBlockSize, swap } from '../../src/host/dm-swap.ts'
import { errorTable, linearTable, multipathTable, type Table } from '../../src/host/dm-table.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'
import { FakeDeviceMapper } from './fake-device-mapper.ts'

const SKIP_LOCKFS = 1 << 10
const NOFLUSH = 1 << 11
const blockSizeOf = (): number => 512

async function make(table: Table = linearTable('8:1', 2048)) {
  const kernel = new FakeDeviceMapper()
  const mapper = new DeviceMapper(kernel, 50)
  await mapper.create('web1', table, { uuid: 'BLKFERRY-web1' })
  kernel.calls.length = 0
  return { kernel, mapper }
}

async function failure(work: Promise<unknown>): Promise<DeviceMapperError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(DeviceMapperError)
  return error as DeviceMapperError
}

describe('devices', () => {
  test('a created device is live, and its table reads back', async () => {
    const { mapper } = await make()
    expect(await mapper.version()).toBe('4.47.0')
    expect(await mapper.status('web1')).toEqual({
      name: 'web1',
      uuid: 'BLKFERRY-web1',
      major: 254,
      minor: 0,
      openCount: 0,
      isSuspended: false,
      isReadOnly: false,
      hasTable: true,
      hasLoadedTable: false,
      isRemovedOnClose: false,
    })
    expect(await mapper.table('web1')).toEqual(linearTable('8:1', 2048))
    expect(await mapper.list()).toEqual([{ name: 'web1', major: 254, minor: 0 }])
  })

  test('a device whose table is refused is not left behind', async () => {
    const kernel = new FakeDeviceMapper()
    const mapper = new DeviceMapper(kernel)
    kernel.failures.set(9, -22)
    const error = await failure(mapper.create('web1', linearTable('8:1', 8)))
    expect(error).toMatchObject({ code: 'EINVAL', operation: 'tableLoad', device: 'web1' })
    expect(await mapper.list()).toEqual([])
    expect(await mapper.find('web1')).toBeUndefined()
  })

  test('a name that is taken is refused and what is there stays', async () => {
    const { mapper } = await make()
    expect((await failure(mapper.create('web1', errorTable(8)))).code).toBe('EEXIST')
    expect(await mapper.table('web1')).toEqual(linearTable('8:1', 2048))
  })

  test('an answer that does not fit is asked for again with more room', async () => {
    const pieces = Array.from({ length: 900 }, (_, index) => ({
      ...linearTable('8:1', 1, index)[0]!,
      start: index,
    }))
    const { mapper } = await make(pieces)
    expect(await mapper.table('web1')).toEqual(pieces)
  })

  test('a device in use is tried again, then left to its last close if so wanted', async () => {
    const { kernel, mapper } = await make()
    kernel.devices.get('web1')!.openCount = 1
    expect((await failure(mapper.remove('web1', { waitMs: 60 }))).code).toBe('EBUSY')
    expect(kernel.calls).toHaveLength(3)
    await mapper.remove('web1', { deferred: true })
    expect((await mapper.status('web1')).isRemovedOnClose).toBe(true)
    kernel.devices.get('web1')!.openCount = 0
    await mapper.remove('web1')
    expect((await failure(mapper.status('web1'))).code).toBe('ENXIO')
  })

  test('a signal in the midst of a suspend is no failure', async () => {
    const { kernel, mapper } = await make()
    kernel.failures.set(6, -4)
    await mapper.suspend('web1')
    expect((await mapper.status('web1')).isSuspended).toBe(true)
    expect(kernel.calls.filter(call => call.startsWith('6'))).toHaveLength(2)
  })

  test('a call that the kernel holds ends with a timeout', async () => {
    const { kernel, mapper } = await make()
    kernel.held.add(6)
    expect((await failure(mapper.suspend('web1'))).code).toBe('timeout')
  })
})

describe('swap', () => {
  test(
    'is a load and a resume, with no suspend ' + 'of its own; undo is the same backwards',
    async () => {
      const { kernel, mapper } = await make()
      const done = await swap(mapper, 'web1', linearTable('43:0', 2048), { blockSizeOf })
      const writes = kernel.calls.filter(call => /^(6|9) /.test(call))
      expect(writes).toEqual(['9 web1 0', `6 web1 ${SKIP_LOCKFS}`])
      expect(await mapper.table('web1')).toEqual(linearTable('43:0', 2048))
      await done.undo({ noFlush: true })
      expect(await mapper.table('web1')).toEqual(linearTable('8:1', 2048))
      expect(kernel.calls).toContain(`6 web1 ${SKIP_LOCKFS | NOFLUSH}`)
    },
  )

  test('another length, another block size or a gap is refused and nothing is loaded', async () => {
    const { kernel, mapper } = await make()
    const size4k = (device: string): number => (device === '43:0' ? 4096 : 512)
    const wrong: [Table, (device: string) => number, string][] = [
      [linearTable('43:0', 2047), blockSizeOf, '2047 sectors, the device has 2048'],
      [linearTable('43:0', 2048), size4k, '43:0 has logical blocks of 4096 bytes'],
      [[], blockSizeOf, 'empty'],
    ]
    for (const [table, sizes, message] of wrong) {
      const error = await failure(swap(mapper, 'web1', table, { blockSizeOf: sizes }))
      expect(error.code).toBe('refused')
      expect(error.message).toContain(message)
    }
    expect(kernel.calls.some(call => call.startsWith('9'))).toBe(false)
  })

  test('a table that cannot go live leaves the old one live and running', async () => {
    const { kernel, mapper } = await make()
    kernel.failures.set(6, -12)
    const error = await failure(swap(mapper, 'web1', linearTable('43:0', 2048), { blockSizeOf }))
    expect(error).toMatchObject({ code: 'ENOMEM', cleanUpErrors: [] })
    expect(await mapper.status('web1')).toMatchObject({ isSuspended: false, hasLoadedTable: false })
    expect(await mapper.table('web1')).toEqual(linearTable('8:1', 2048))
  })

  test('a device that was suspended before a swap that failed stays so', async () => {
    const { kernel, mapper } = await make()
    await mapper.suspend('web1')
    kernel.failures.set(6, -12)
    await failure(swap(mapper, 'web1', linearTable('43:0', 2048), { blockSizeOf }))
    expect((await mapper.status('web1')).isSuspended).toBe(true)
  })

  test('a resume that hangs is not tried again: the swap may still happen', async () => {
    const { kernel, mapper } = await make()
    kernel.held.add(6)
    const error = await failure(swap(mapper, 'web1', linearTable('43:0', 2048), { blockSizeOf }))
    expect(error.code).toBe('timeout')
    expect(kernel.calls.filter(call => /^(6|10) /.test(call))).toEqual([])
    expect((await mapper.status('web1')).hasLoadedTable).toBe(true)
  })

  test('a multipath table cannot be replaced by another kind; the kernel says so', async () => {
    const { mapper } = await make(multipathTable('43:0', 2048))
    const error = await failure(swap(mapper, 'web1', linearTable('8:1', 2048), { blockSizeOf }))
    expect(error).toMatchObject({ code: 'EINVAL', operation: 'tableLoad' })
    expect(await mapper.table('web1')).toEqual(multipathTable('43:0', 2048))
  })

  test('a fence fails everything from then on, on a suspended device too', async () => {
    const { mapper } = await make()
    await mapper.suspend('web1')
    await fence(mapper, 'web1')
    expect(await mapper.table('web1')).toEqual(errorTable(2048))
    expect((await mapper.status('web1')).isSuspended).toBe(false)
  })
})

describe('this machine', () => {
  test('without device-mapper, opening says which module to load', async () => {
    await using folder = await temporary()
    const path = folder.file('control')
    const error = await failure((async () => openControl(path, '/dev/null'))())
    expect(error.code).toBe('missing')
    expect(error.message).toContain('modprobe dm_mod')
  })

  test('the control node has the number that the kernel gave it', () => {
    expect(minorOf('device-mapper', ' 58 vsock\n236 device-mapper\n')).toBe(236)
    expect(minorOf('device-mapper', '236 device-mapper-else\n')).toBeUndefined()
  })

  test('a path that is no block device has no block size', () => {
    expect(() => logicalBlockSize('/dev/null')).toThrow('no such block device')
    expect(() => logicalBlockSize('4095:1')).toThrow('no such block device')
  })
})

describeWith(['root'], 'device nodes', () => {
  test('a node is made from the numbers, used again, and replaced when it is another', async () => {
    await using folder = await temporary()
    const device = { name: 'web1', major: 254, minor: 300 }
    const path = deviceNode(device, folder.path)
    expect(path).toBe(folder.file('mapper/web1'))
    const made = statSync(path)
    expect(made.isBlockDevice()).toBe(true)
    expect(deviceNode(device, folder.path)).toBe(path)
    expect(statSync(path).ino).toBe(made.ino)
    deviceNode({ ...device, minor: 301 }, folder.path)
    expect(statSync(path).rdev).not.toBe(made.rdev)
  })

  test("this machine's block devices have a logical block size", () => {
    expect([512, 4096]).toContain(logicalBlockSize('/dev/loop0'))
    expect(logicalBlockSize('7:0')).toBe(logicalBlockSize('/dev/loop0'))
  })
})
