/** Which disks can be moved at all, and what is said of the others. */
import { symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { HostJournal } from '../../src/daemon/host-journal.ts'
import { placesFor } from '../../src/daemon/incoming-disk.ts'
import { claimUnknown, configuredGuest, findGuest } from '../../src/daemon/preflight.ts'
import { SessionRecords } from '../../src/daemon/session-record.ts'
import { Sessions } from '../../src/daemon/sessions.ts'
import { hexadecimal } from '../../src/daemon/vbds.ts'
import { linearTable } from '../../src/host/dm-table.ts'
import { openJournal } from '../../src/migration/journal-file.ts'
import { temporary } from '../support/temporary.ts'
import { StubHost } from './stub-host.ts'

const VOLUME = '/dev/vg0/web1'
const SIZE = 1024 * 1024
const XVDA = 'backend/vbd/1/51712'
const STOCK = '/etc/xen/scripts/block'

async function setUp() {
  const folder = await temporary()
  const host = new StubHost(folder.file('a'), 'a')
  const journal = new HostJournal(() => openJournal(folder.file('state')))
  const records = new SessionRecords(folder.file('records'))
  const context = { host, journal, records, log: pino({ level: 'silent' }) }
  writeFileSync(host.diskFile(VOLUME), '')
  truncateSync(host.diskFile(VOLUME), SIZE)
  const { name, numbers } = await host.addPlainDevice(VOLUME)
  const { major, minor } = await host.mapper.status(name)
  const device = hexadecimal({ major, minor })
  host.writeDomain({ domid: 1, name: 'web1', state: 'running', disks: [] })
  const fields = { params: VOLUME, dev: 'xvda', script: STOCK, 'physical-device': device }
  const give = (changed: Partial<typeof fields> = {}, path = XVDA): Promise<void> => {
    const all = Object.entries({ ...fields, ...changed })
    return host.xenstore.write(Object.fromEntries(all.map(([key, one]) => [`${path}/${key}`, one])))
  }
  await give()
  const close = async (): Promise<void> => {
    journal.close()
    await folder[Symbol.asyncDispose]()
  }
  const found = () => findGuest(context, 'web1')
  return { context, host, journal, numbers, give, found, [Symbol.asyncDispose]: close }
}

const REMEDY = "give it script=block-ferry in the guest's configuration and start the guest again"

test.each([STOCK, ''])('a logical volume with script %j can be moved as it is', async script => {
  await using all = await setUp()
  await all.give({ script })
  const guest = await all.found()
  const disk = { vdev: 'xvda', disk: VOLUME, size: SIZE, blockSize: 512, epoch: 1 }
  expect(guest.disks).toEqual([{ ...disk, device: 'vg0-web1', isPrepared: false }])
  expect(await configuredGuest(all.context, guest)).toEqual({
    domain: 'web1',
    disks: [{ vdev: 'xvda', script: 'block-ferry', target: VOLUME }],
    readOnly: [],
  })
})

test('digits are a number and never a name, as for xl', async () => {
  await using all = await setUp()
  all.host.writeDomain({ domid: 5, name: '1', state: 'running', disks: [] })
  expect(await findGuest(all.context, '1')).toMatchObject({ domid: 1, domain: 'web1' })
  await expect(findGuest(all.context, '5')).rejects.toThrow('domain 1 has no disk')
  all.host.removeDomain(1)
  await expect(findGuest(all.context, '1')).rejects.toThrow('there is no domain 1 on this host')
})

test('one that nobody knew is claimed when a session starts, and not before', async () => {
  await using all = await setUp()
  const guest = await all.found()
  expect(all.journal.holding(VOLUME).role).toBe('none')
  claimUnknown(all.context, guest)
  expect(all.journal.holding(VOLUME)).toEqual({ role: 'owner', epoch: 1, session: undefined })
  const again = await all.found()
  expect(again.disks).toEqual(guest.disks)
  claimUnknown(all.context, again)
  expect(all.journal.holding(VOLUME).epoch).toBe(1)
})

test('only an owner’s can be moved, whatever the guest runs on', async () => {
  await using all = await setUp()
  const { journal } = all
  const change = { disk: VOLUME, session: 's1' }
  journal.apply('claim', [{ disk: VOLUME }])
  journal.apply('seal', [change])
  await expect(all.found()).rejects.toThrow('is sealed (session s1) on this host')
  journal.apply('give-away', [change])
  await expect(all.found()).rejects.toThrow('given-away (session s1) on this host, and only an own')
  journal.apply('release', [change])
  await expect(all.found()).rejects.toThrow(`blkferry claim ${VOLUME}, if it is`)
  journal.apply('claim', [{ disk: VOLUME }])
  expect((await all.found()).disks).toMatchObject([{ epoch: 2 }])
})

test.each([
  ['something else than device-mapper', { 'physical-device': '8:1' }, 'no device of device-mapper'],
  ['nothing yet', { 'physical-device': '' }, 'no device of device-mapper'],
  ['a file', { params: '/srv/web1.img', 'physical-device': '7:0' }, 'or put it on LVM'],
  ['a path that is not absolute', { params: 'vg0/web1' }, 'is no absolute path'],
  ['a script of somebody else', { script: '/etc/xen/scripts/block-drbd' }, 'block-drbd'],
  ['a script with much the same name', { script: '/etc/xen/scripts/my-block' }, 'my-block'],
])('a disk on %s is refused, with what to do', async (_name, changed, said) => {
  await using all = await setUp()
  await all.give(changed)
  await expect(all.found()).rejects.toThrow(said)
  await expect(all.found()).rejects.toThrow(REMEDY)
})

test('a thin volume is refused before anything is begun, with what to do', async () => {
  await using all = await setUp()
  const thin = {
    type: 'other',
    start: 0,
    length: 2048,
    kind: 'thin',
    parameters: '253:4 1',
  } as const
  await all.host.mapper.load('vg0-web1', [thin])
  await all.host.mapper.resume('vg0-web1')
  await expect(all.found()).rejects.toThrow('xvda is on vg0-web1, but its table has thin')
  await expect(all.found()).rejects.toThrow(REMEDY)
})

test('a path that leads elsewhere since the guest was started is refused', async () => {
  await using all = await setUp()
  const other = await all.host.mapper.create('vg0-other', linearTable('8:1', 2048))
  await all.give({ 'physical-device': hexadecimal(other) })
  await expect(all.found()).rejects.toThrow(`${VOLUME} leads to another now: start the guest again`)
})

test('a disk that another guest writes to as well is refused', async () => {
  await using all = await setUp()
  await all.give({ params: '/dev/mapper/vg0-web1' }, 'backend/vbd/2/51728')
  await expect(all.found()).rejects.toThrow('is in use by domain 2 as xvda as well')
})

test.each([
  ['QEMU', '/local/domain/0/backend/qdisk/1/51728'],
  ['a driver domain', '/local/domain/5/backend/vbd/1/51728'],
])('a guest that writes to another disk through %s is refused', async (_name, backend) => {
  await using all = await setUp()
  const note = (devid: number, fields: Readonly<Record<string, string>>) => {
    const nodes = Object.entries(fields).map(([key, value]) => [
      `/libxl/1/device/vbd/${devid}/${key}`,
      value,
    ])
    return all.host.xenstore.write(Object.fromEntries(nodes))
  }
  await note(51_712, { backend: `/local/domain/0/${XVDA}`, dev: 'xvda', mode: 'w' })
  await note(51_728, { backend, dev: 'xvdb', mode: 'r' })
  const guest = await all.found()
  expect(guest.disks).toHaveLength(1)
  expect((await configuredGuest(all.context, guest)).readOnly).toEqual(['xvdb'])
  await note(51_728, { mode: 'w' })
  await expect(all.found()).rejects.toThrow('disk xvdb is served by QEMU or a driver domain')
})

test('the place of a guest with the stock script takes in no other disk', async () => {
  await using all = await setUp()
  const wanted = [{ disk: VOLUME, size: SIZE, blockSize: 512 }]
  await expect(placesFor(all.context, wanted)).rejects.toThrow('by domain 1, as its xvda: free it')
  await all.give({ 'physical-device': '' })
  expect(await placesFor(all.context, wanted)).toEqual([all.host.diskFile(VOLUME)])
})

test('a disk of this host takes in no other one, under whatever name', async () => {
  await using all = await setUp()
  await all.give({ 'physical-device': '' })
  const { journal, host } = all
  const comes = (disk: string, epoch = 1) =>
    placesFor(all.context, [{ disk, size: SIZE, blockSize: 512, epoch }])
  symlinkSync(host.diskFile(VOLUME), host.diskFile('web1'))
  journal.apply('claim', [{ disk: VOLUME }])
  await expect(comes(VOLUME)).rejects.toThrow(`and blkferry release ${VOLUME} there`)
  await expect(comes('web1')).rejects.toThrow(`disk web1, which is ${VOLUME} as well, is owner`)
  journal.apply('give-up', [{ disk: VOLUME }])
  expect(await comes('web1')).toEqual([host.diskFile('web1')])
  expect(await comes(VOLUME)).toEqual([host.diskFile(VOLUME)])
})

test('what has moved away takes in no other one before it is released', async () => {
  await using all = await setUp()
  await all.give({ 'physical-device': '' })
  const { journal, host } = all
  const comes = (disk: string, epoch: number) =>
    placesFor(all.context, [{ disk, size: SIZE, blockSize: 512, epoch }])
  symlinkSync(host.diskFile(VOLUME), host.diskFile('web1'))
  const change = { disk: VOLUME, session: 's1' }
  journal.apply('claim', [{ disk: VOLUME }])
  journal.apply('seal', [change])
  journal.apply('give-away', [change])
  await expect(comes(VOLUME, 2)).rejects.toThrow(`blkferry release ${VOLUME} there, if the old`)
  await expect(comes('web1', 2)).rejects.toThrow(`blkferry release ${VOLUME} there, if the old`)
  journal.apply('release', [change])
  expect(await comes('web1', 2)).toEqual([host.diskFile('web1')])
  journal.apply('claim', [{ disk: VOLUME }])
  journal.apply('give-up', [{ disk: VOLUME }])
  await expect(comes(VOLUME, 1)).rejects.toThrow('has been at epoch 2 at the destination')
})

test('a disk that QEMU serves to a guest takes in no other one', async () => {
  await using all = await setUp()
  await all.give({ 'physical-device': '' })
  const node = '/local/domain/0/backend/qdisk/4/768'
  await all.host.xenstore.write({ [`${node}/params`]: `aio:raw:${VOLUME}`, [`${node}/dev`]: 'hda' })
  const comes = placesFor(all.context, [{ disk: VOLUME, size: SIZE, blockSize: 512 }])
  await expect(comes).rejects.toThrow('by domain 4, as its hda, by QEMU: free it first')
})

test('a migration whose command is gone before its turn has come does not begin', async () => {
  await using all = await setUp()
  const sessions = new Sessions(all.context)
  const params = {
    domain: 'web1',
    host: 'b',
    ssh: { environment: {}, options: [] },
    copyMode: 'auto',
    bandwidth: 0,
    stallMs: 100,
    reconnectSeconds: 1,
    xlOptions: [],
    isInsecure: false,
  } as const
  await expect(sessions.start(params, AbortSignal.abort())).rejects.toThrow('has ended')
  expect(sessions.list()).toEqual([])
  expect(all.journal.holding(VOLUME).role).toBe('none')
})

test('a guest that runs on the old copy of what has moved away does not move on', async () => {
  await using all = await setUp()
  const { journal, host } = all
  symlinkSync(host.diskFile(VOLUME), host.diskFile('web1'))
  const change = { disk: 'web1', session: 's1' }
  journal.apply('claim', [{ disk: 'web1' }])
  journal.apply('seal', [change])
  journal.apply('give-away', [change])
  await expect(all.found()).rejects.toThrow('the same as web1, which is given-away (session s1)')
})
