/** libxl's hotplug contract, without a guest: what is admitted, what stands in xenstore. */
import { symlinkSync, writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { HostJournal } from '../../src/daemon/host-journal.ts'
import { Hotplug } from '../../src/daemon/hotplug.ts'
import { hexadecimal } from '../../src/daemon/vbds.ts'
import { openJournal } from '../../src/migration/journal-file.ts'
import { temporary } from '../support/temporary.ts'
import { StubHost } from './stub-host.ts'

const PATH = 'backend/vbd/1/51712'

async function setUp() {
  const folder = await temporary()
  const host = new StubHost(folder.file('a'), 'a')
  writeFileSync(host.diskFile('web1'), 'not empty')
  const journal = new HostJournal(() => openJournal(folder.file('state')))
  const sessions = {
    receive: async () => await host.devices.make('web1'),
    leave: async () => {},
  }
  const hotplug = new Hotplug(host, journal, sessions, pino({ level: 'silent' }))
  const request = (path: string, disk: string) =>
    host.xenstore.write({ [`${path}/params`]: disk, [`${path}/dev`]: 'xvda' })
  await request(PATH, 'web1')
  const close = async (): Promise<void> => {
    journal.close()
    await folder[Symbol.asyncDispose]()
  }
  return { host, journal, hotplug, request, [Symbol.asyncDispose]: close }
}

test('the first add of a disk claims it, and writes all that libxl waits for', async () => {
  await using all = await setUp()
  const { device } = await all.hotplug.add(PATH)
  expect(all.journal.holding('web1')).toEqual({ role: 'owner', epoch: 1, session: undefined })
  const read = (name: string) => all.host.xenstore.read(`${PATH}/${name}`)
  expect(await read('physical-device')).toBe('fd:0')
  expect(await read('physical-device-path')).toBe(device)
  expect(await read('hotplug-status')).toBe('connected')
})

test('an add may be repeated, and so may a remove', async () => {
  await using all = await setUp()
  expect(await all.hotplug.add(PATH)).toEqual(await all.hotplug.add(PATH))
  await all.hotplug.remove(PATH)
  await all.hotplug.remove(PATH)
  expect(all.host.made.size).toBe(0)
})

test('a disk that another domain has is refused, in a sentence in xenstore', async () => {
  await using all = await setUp()
  await all.hotplug.add(PATH)
  const other = 'backend/vbd/2/51712'
  await all.request(other, 'web1')
  await expect(all.hotplug.add(other)).rejects.toThrow('in use by domain 1 as xvda')
  expect(await all.host.xenstore.read(`${other}/hotplug-status`)).toBe('error')
  expect(await all.host.xenstore.read(`${other}/hotplug-error`)).toContain('shut that one down')
  expect(await all.host.xenstore.read(`${other}/physical-device`)).toBeUndefined()
})

test.each(['backend/vbd/1', 'backend/vbd/../1', '/local/domain/0/x', ''])(
  '%j is no path of a disk',
  async path => {
    await using all = await setUp()
    await expect(all.hotplug.add(path)).rejects.toThrow('is no path of a disk')
  },
)

test('a disk in the middle of a hand-over is not added by anybody else', async () => {
  await using all = await setUp()
  all.journal.apply('claim', [{ disk: 'web1' }])
  all.journal.apply('seal', [{ disk: 'web1', session: 's1' }])
  await expect(all.hotplug.add(PATH)).rejects.toThrow('session s1 is handing it over')
})

test('a disk that is named by its path is added and removed as any other', async () => {
  await using all = await setUp()
  const disk = '/dev/vg0/web1'
  writeFileSync(all.host.diskFile(disk), Buffer.alloc(4096))
  await all.host.addPlainDevice(disk)
  await all.request(PATH, disk)
  expect(await all.hotplug.add(PATH)).toEqual({ device: all.host.diskFile(disk) })
  expect(all.journal.holding(disk)).toEqual({ role: 'owner', epoch: 1, session: undefined })
  await all.hotplug.remove(PATH)
  expect([...all.host.made.keys()]).toEqual([])
  expect((await all.host.mapper.list()).map(({ name }) => name)).toEqual(['vg0-web1'])
})

test('a disk that has moved away is refused by any other name until it is released', async () => {
  await using all = await setUp()
  all.journal.apply('claim', [{ disk: 'web1' }])
  all.journal.apply('seal', [{ disk: 'web1', session: 's1' }])
  all.journal.apply('give-away', [{ disk: 'web1', session: 's1' }])
  symlinkSync(all.host.diskFile('web1'), all.host.diskFile('alias'))
  await all.request(PATH, 'alias')
  await expect(all.hotplug.add(PATH)).rejects.toThrow(
    'disk alias is the same as web1, which is given-away (session s1) on this host',
  )
  expect(all.journal.holding('alias').role).toBe('none')
  all.journal.apply('release', [{ disk: 'web1', session: 's1' }])
  await all.hotplug.add(PATH)
  expect(all.journal.holding('alias').role).toBe('owner')
})

test('a disk that a guest has by the stock script, under another name, is refused', async () => {
  await using all = await setUp()
  const disk = '/dev/vg0/web1'
  writeFileSync(all.host.diskFile(disk), Buffer.alloc(4096))
  const { numbers } = await all.host.addPlainDevice(disk)
  const other = 'backend/vbd/2/51712'
  await all.request(other, '/dev/mapper/vg0-web1')
  const [major = 0, minor = 0] = numbers.split(':').map(Number)
  await all.host.xenstore.write({ [`${other}/physical-device`]: hexadecimal({ major, minor }) })
  await all.request(PATH, disk)
  await expect(all.hotplug.add(PATH)).rejects.toThrow('in use by domain 2 as xvda')
})
