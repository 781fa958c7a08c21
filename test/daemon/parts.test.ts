/** The daemon's small parts: table of disks, word, processes, the wish to seal. */
import { spawn } from 'node:child_process'
import { symlinkSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { pathOfDisk } from '../../src/daemon/disk-table.ts'
import { identityOfPath, nameOfDevice } from '../../src/daemon/guest-devices.ts'
import { HostJournal } from '../../src/daemon/host-journal.ts'
import { Peer } from '../../src/daemon/peer.ts'
import { endProcess, isAlive, markOf } from '../../src/daemon/processes.ts'
import { SealRequest } from '../../src/daemon/seal-request.ts'
import { oneAtATime } from '../../src/daemon/turns.ts'
import { wordOf } from '../../src/daemon/word.ts'
import { openJournal } from '../../src/migration/journal-file.ts'
import { temporary } from '../support/temporary.ts'

test('the table names disks, and a path needs no name', async () => {
  await using folder = await temporary()
  const file = folder.file('disks')
  writeFileSync(file, '# ours\nweb1  /dev/vg0/web1\n\n db /srv/with blank.img \n')
  expect(pathOfDisk('web1', file)).toBe('/dev/vg0/web1')
  expect(pathOfDisk('db', file)).toBe('/srv/with blank.img')
  expect(pathOfDisk('/dev/sdb', file)).toBe('/dev/sdb')
  expect(() => pathOfDisk('web2', file)).toThrow('is not known on this host: add a line')
  expect(() => pathOfDisk('web2', folder.file('none'))).toThrow('is not known on this host')
  writeFileSync(file, 'web1 relative\n')
  expect(() => pathOfDisk('web1', file)).toThrow('line 1 is no "NAME /PATH"')
})

test('two names of one file are one, and a path that leads in a circle is none', async () => {
  await using folder = await temporary()
  writeFileSync(folder.file('disk'), '')
  writeFileSync(folder.file('other'), '')
  symlinkSync('disk', folder.file('alias'))
  symlinkSync('circle', folder.file('circle'))
  const identity = (name: string) => identityOfPath(folder.file(name))
  expect(identity('alias')).toBe(identity('disk'))
  expect(identity('other')).not.toBe(identity('disk'))
  expect([identity('circle'), identity('nowhere')]).toEqual([undefined, undefined])
})

test('device names are the kernel’s, and differ where disks do', () => {
  const names = ['web1', '/dev/vg0/web1', 'a b', 'x'.repeat(200), '/dev/vg0-web1'].map(nameOfDevice)
  expect(new Set(names).size).toBe(5)
  for (const name of names) expect(name).toMatch(/^blkferry-[\w.-]{1,110}$/)
})

test('a word is what the journal cannot take back', async () => {
  await using folder = await temporary()
  const journal = new HostJournal(() => openJournal(folder.path))
  const disks = [{ disk: 'a', epoch: 3 }]
  const word = () => wordOf(journal, 's1', disks)
  expect(word()).toBe('nothing')
  journal.apply('admit', [{ disk: 'a', session: 's1', epoch: 3 }])
  expect(word()).toBe('nothing')
  journal.apply('accept', [{ disk: 'a', session: 's1' }])
  expect(word()).toBe('nothing')
  journal.apply('settle', [{ disk: 'a', session: 's1' }])
  expect(word()).toBe('accepted')
  journal.apply('admit', [{ disk: 'b', session: 's2', epoch: 1 }])
  journal.apply('refuse', [{ disk: 'b', session: 's2' }])
  expect(wordOf(journal, 's2', [{ disk: 'b', epoch: 1 }])).toBe('refused')
  journal.apply('admit', [{ disk: 'c', session: 's3', epoch: 1 }])
  journal.apply('accept', [{ disk: 'c', session: 's3' }])
  journal.apply('hand-back', [{ disk: 'c', session: 's3' }])
  expect(wordOf(journal, 's3', [{ disk: 'c', epoch: 1 }])).toBe('handed-back')
  expect(wordOf(journal, 's3', [...disks, { disk: 'c', epoch: 1 }])).toBe('nothing')
  journal.close()
})

test('a process is ended for sure, and one that has its number is left alone', async () => {
  const child = spawn('sleep', ['60'])
  const mark = markOf(child.pid!)!
  expect(isAlive(mark)).toBe(true)
  await endProcess({ ...mark, start: '1' })
  expect(isAlive(mark)).toBe(true)
  await endProcess(mark)
  expect(isAlive(mark)).toBe(false)
  expect(markOf(child.pid!)).toBeUndefined()
})

test('the source hears of the wish to seal at once, and all who wait get its answer', async () => {
  const request = new SealRequest()
  const waiting = request.wait(10_000)
  const asked = [request.ask(), request.ask()]
  expect(await waiting).toEqual({ want: 'seal', isOver: false })
  request.answer(null)
  request.answer('too late to matter')
  await Promise.all(asked)
  expect(await request.wait(1)).toEqual({ want: null, isOver: false })
})

test('a source that cannot seal fails every add', async () => {
  const request = new SealRequest()
  const asked = [request.ask(), request.ask()].map(one => expect(one).rejects.toThrow('no mirror'))
  request.answer('no mirror')
  await Promise.all(asked)
  request.end()
  expect(await request.wait(10_000)).toEqual({ want: null, isOver: true })
})

test('a source that has asked for days is answered as one that has just begun', async () => {
  const request = new SealRequest()
  await Promise.all(Array.from({ length: 30_000 }, () => request.wait(1)))
  const waiting = request.wait(10_000)
  const asked = request.ask()
  expect(await waiting).toEqual({ want: 'seal', isOver: false })
  request.answer(null)
  await asked
  request.end()
})

test('what is asked for a thousand times while it is done is done once more', async () => {
  let done = 0
  const ask = oneAtATime(async () => {
    await new Promise(resolve => setTimeout(resolve, 5))
    done++
  })
  for (let count = 0; count < 1000; count++) ask()
  await expect.poll(() => done).toBe(2)
  ask()
  await expect.poll(() => done).toBe(3)
})

test('the other host is reached as whoever asked last does, by a connection of its own', () => {
  const access = (options: string[]) => ({ environment: {}, options })
  const peer = (options: string[]) =>
    new Peer('b', { ssh: access(options), controlFolder: '/run/x', remoteCommand: ['blkferry'] })
  const socketOf = (one: Peer) => one.argv([]).find(word => word.startsWith('ControlPath='))
  const one = peer(['-p', '22'])
  const first = socketOf(one)
  expect(first).not.toBe(socketOf(peer(['-p', '22'])))
  one.use(access(['-p', '2222']))
  expect(one.argv([])).toContain('2222')
  expect(one.argv([])).not.toContain('22')
  expect(socketOf(one)).not.toBe(first)
})
