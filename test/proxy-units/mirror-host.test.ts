/** The mirror's verbs in any order and at any moment, over a real disk and a real target. */
import { once } from 'node:events'
import { existsSync, mkdirSync, rmdirSync } from 'node:fs'
import net from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import type { MirrorStartParams } from '../../src/control/messages.ts'
import { ENGINE_NAMES, type EngineName } from '../../src/io/engine.ts'
import { Counters } from '../../src/nbd/counters.ts'
import type { ControlCalls, DataCalls } from '../../src/proxy/calls.ts'
import { Disk } from '../../src/proxy/disk.ts'
import { MirrorHost } from '../../src/proxy/mirror-host.ts'
import { connectTarget } from '../../src/proxy/target.ts'
import type { ThreadLink } from '../../src/proxy/thread-link.ts'
import { TestServer } from '../nbd/server.ts'
import { until } from '../nbd/until.ts'
import { makeDisk, socketUri } from '../support/blkferry.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024
const SIZE = 4 * MIB

/** The control thread's part, in this thread. */
class Link {
  readonly warnings: string[] = []

  readonly call = (async (name: string, argument: unknown): Promise<unknown> => {
    if (name === 'connectTarget') {
      return await connectTarget(argument as Parameters<ControlCalls['connectTarget']>[0])
    }
    const { level, message } = argument as Parameters<ControlCalls['log']>[0]
    if (level === 'warn' || level === 'error') this.warnings.push(message)
    return undefined
  }) as ThreadLink<DataCalls, ControlCalls>['call']
}

describe.each(ENGINE_NAMES)('a mirror on %s', engine => {
  let folder: Temporary
  let disk: Disk
  let target: TestServer
  let copy: MemoryDevice
  let host: MirrorHost
  let link: Link

  const open = async (name: EngineName, path: string): Promise<void> => {
    const counters = new Counters().buffer
    const bitmap = folder.file('bitmap')
    const options = { path, readOnly: false, held: false, direct: 'off', engine: name } as const
    disk = await Disk.open({ ...options, bitmap, counters })
    link = new Link()
    const asLink = link as unknown as ThreadLink<DataCalls, ControlCalls>
    host = new MirrorHost(disk, asLink, { path, bitmap })
  }

  const params = (fields: Partial<MirrorStartParams> = {}): MirrorStartParams => ({
    target: socketUri(target.path),
    copyMode: 'auto',
    bandwidth: 0,
    granularity: 65_536,
    stallMs: 100,
    reconnectSeconds: 60,
    ...fields,
  })

  beforeEach(async () => {
    folder = await temporary()
    copy = new MemoryDevice(SIZE)
    target = await TestServer.open(engine, chain(checked, copy))
    await open(engine, await makeDisk(folder.file('disk'), SIZE))
  })

  afterEach(async () => {
    await host.close()
    await disk.close()
    await target[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  })

  const complete = () => host.complete({ verify: true, resume: true, timeoutMs: 10_000 })

  test('can be started again as soon as its end is reported', async () => {
    await host.start(params())
    expect((await host.cancel()).outcome).toBe('cancelled')
    for (const granularity of [65_536, 4096]) {
      await host.start(params({ granularity }))
      expect((await complete()).outcome).toBe('completed')
    }
    await host.start(params())
    await expect(host.start(params())).rejects.toMatchObject({ code: 'mirror-exists' })
  })

  test('is cancelled while its target is silent', async () => {
    const accepted: net.Socket[] = []
    const silent = net.createServer(socket => accepted.push(socket)).listen(folder.file('silent'))
    await once(silent, 'listening')
    const starting = host.start(params({ target: socketUri(folder.file('silent')) }))
    starting.catch(() => undefined)
    await until(() => accepted.length === 1)
    await expect(host.start(params())).rejects.toMatchObject({ code: 'mirror-exists' })
    await host.cancel()
    await expect(starting).rejects.toMatchObject({ code: 'mirror-cancelled' })
    expect(existsSync(folder.file('bitmap'))).toBe(false)
    await host.start(params())
    expect((await complete()).outcome).toBe('completed')
    for (const socket of accepted) socket.destroy()
    silent.close()
  })

  test('whose bitmap cannot be kept is refused, and the next one is not', async () => {
    mkdirSync(folder.file('bitmap'))
    await expect(host.start(params())).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining('EISDIR'),
    })
    expect(host.status()).toBeNull()
    await host.close()
    await disk.close()
    const other = await makeDisk(folder.file('other'), SIZE)
    rmdirSync(folder.file('bitmap'))
    await open(engine, other)
    await host.start(params())
    expect((await complete()).outcome).toBe('completed')
  })

  test('whose target is not there fails, and leaves no bits', async () => {
    const nowhere = socketUri(folder.file('nowhere'))
    await expect(host.start(params({ target: nowhere }))).rejects.toMatchObject({
      code: 'target-unreachable',
    })
    await until(() => !existsSync(folder.file('bitmap')))
    expect(host.status()).toMatchObject({ state: 'concluded', outcome: 'failed' })
  })

  test('is ended by a close in any state', async () => {
    await host.start(params({ bandwidth: 100_000 }))
    await host.close()
    expect(host.status()).toMatchObject({ state: 'concluded', outcome: 'cancelled' })
    expect(existsSync(folder.file('bitmap'))).toBe(false)
    await expect(host.start(params())).rejects.toMatchObject({ code: 'mirror-cancelled' })
  })

  test('is ended by a close in the middle of a switchover, which holds nobody then', async () => {
    await host.start(params())
    await until(() => host.status()!.state === 'ready')
    const quiesce = disk.gate.quiesceWithin.bind(disk.gate)
    const holding = new Promise<void>(resolve => {
      disk.gate.quiesceWithin = (...limits) => {
        resolve()
        return quiesce(...limits)
      }
    })
    const completing = host.complete({ verify: true, resume: false, timeoutMs: 10_000 })
    completing.catch(() => undefined)
    await holding
    expect(disk.gate.isStopped).toBe(true)
    await host.close()
    await expect(completing).rejects.toMatchObject({ code: 'mirror-cancelled' })
    expect(disk.gate.isStopped).toBe(false)
  })

  test('that cannot become ready in time says so and goes on', async () => {
    await host.start(params())
    await target.stop(0)
    await until(() => host.status()!.state === 'waiting')
    const completing = host.complete({ verify: false, resume: true, timeoutMs: 50 })
    await expect(completing).rejects.toMatchObject({ code: 'timeout' })
    expect(host.status()!.state).toBe('waiting')
    expect(link.warnings).toContain('target lost')
  })
})
