/** Targets that are full, go away or keep nothing on disk: the client never notices. */
import { rm, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { mustRun } from '../../src/demo/command.ts'
import { fastFolder, firstDifference, makeDisk, makeEmpty } from '../support/blkferry.ts'
import { migrate, prepare } from '../support/migration.ts'
import { startNbdkit } from '../support/peers.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024
const SIZE = 16 * MIB

describeWith(['nbdkit', 'nbdcopy'], 'a target in memory', () => {
  test('is migrated to', async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    await using target = await startNbdkit(folder.file('target.nbd'), ['memory', String(SIZE)])
    await using source = await prepare(folder, { path, size: SIZE })
    await migrate(source, target.uri)
    const copy = await makeEmpty(folder.file('copy'), SIZE)
    await mustRun(['nbdcopy', target.uri, copy])
    expect(await firstDifference(path, copy)).toBeUndefined()
  })
})

describeWith(['nbdkit'], 'a full target', () => {
  test('makes the mirror say so, and the client goes on', async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    await using target = await startNbdkit(folder.file('target.nbd'), ['full', String(SIZE)])
    await using source = await prepare(folder, { path, size: SIZE })
    const { writer, client, mirror } = source
    writer.attach(client)
    await mirror.start(target.uri)
    const status = await mirror.until(({ error }) => error !== null)
    expect(status.error).toMatch(/space/)
    expect(status.targetErrors).toBeGreaterThan(0)
    const { count } = writer
    await sleep(500)
    await writer.stop()
    expect(writer.count).toBeGreaterThan(count)
    expect(writer.errors).toEqual([])
    expect((await writer.verify(client)).lost).toEqual([])
  })
})

describeWith(['nbdkit'], 'a target that dies in the middle of the copy', () => {
  test('gets what is left when it is there again', async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    const copy = await makeEmpty(folder.file('copy'), SIZE)
    const socket = folder.file('target.nbd')
    const first = await startNbdkit(socket, ['file', copy])
    await using source = await prepare(folder, { path, size: SIZE, rate: 100 })
    const { writer, client, mirror } = source
    writer.attach(client)
    await mirror.start(first.uri, { bandwidth: 2 * MIB })
    await mirror.until(({ copiedBytes }) => copiedBytes > MIB)
    await first[Symbol.asyncDispose]()
    await mirror.until(({ state }) => state === 'waiting')

    await rm(socket)
    await using again = await startNbdkit(socket, ['file', copy])
    await mirror.set({ bandwidth: 0 })
    const { reconnects } = await mirror.ready()
    expect(reconnects).toBeGreaterThan(0)
    expect(again.uri).toBe(first.uri)
    expect((await mirror.complete({ verify: true })).outcome).toBe('completed')
    writer.detach()
    expect(writer.errors).toEqual([])
    expect(await firstDifference(path, copy)).toBeUndefined()
  })
})

describeWith(['nbdkit'], 'a target that ends with its last client', () => {
  test('ends after the switchover, for the mirror has let it go', async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    const copy = await makeEmpty(folder.file('copy'), SIZE)
    const signal = folder.file('exit')
    await using target = await startNbdkit(folder.file('target.nbd'), [
      ...['--filter=exitwhen', 'file', copy],
      ...[`exit-when-file-created=${signal}`, 'exit-when-poll=1'],
    ])
    await using source = await prepare(folder, { path, size: SIZE })
    await migrate(source, target.uri)
    await writeFile(signal, '')
    await expect.poll(() => isRunning(target.pid), { timeout: 15_000 }).toBe(false)
    expect(await firstDifference(path, copy)).toBeUndefined()
  })
})

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
