import { NBD_CMD_BLOCK_STATUS, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from 'nbd-client-ts'
import { describe, expect, it } from 'vitest'
import type { BlockDevice } from '../../src/block/device.ts'
import { EIO, ENOSPC, EPERM, ESHUTDOWN } from '../../src/block/errno.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import type { Request } from '../../src/block/request.ts'
import { MirrorError } from '../../src/mirror/mirror-error.ts'
import { FaultyDevice } from '../support/faulty-device.ts'
import { CHUNK, createMirror, type MirrorParts, runUntil } from '../support/mirror.ts'
import { createRequest, heapMemory, start } from '../support/requests.ts'

const SIZE = 16 * CHUNK

function createSource(): MemoryDevice {
  const source = new MemoryDevice(SIZE)
  for (let i = 0; i < SIZE; i += 100) source.bytes[i] = 1 + (i % 251)
  return source
}

function mirrorTo(target: BlockDevice, options = {}): MirrorParts {
  return createMirror(createSource(), () => Promise.resolve(target), options)
}

function write(offset: number, value: number): Request {
  const memory = heapMemory(512, value)
  return createRequest({ command: NBD_CMD_WRITE, offset, length: 512, memory })
}

/** The job's state follows later. */
async function reach({ clock, job }: MirrorParts, ...states: string[]): Promise<void> {
  const isThere = await runUntil(clock, () => states.includes(job.state))
  expect(isThere, `${job.state}: ${job.status().error}`).toBe(true)
}

async function settle<T>({ clock }: MirrorParts, promise: Promise<T>): Promise<T | MirrorError> {
  let outcome: T | MirrorError | undefined
  let isSettled = false
  promise.then(
    value => {
      outcome = value
      isSettled = true
    },
    (error: MirrorError) => {
      outcome = error
      isSettled = true
    },
  )
  expect(await runUntil(clock, () => isSettled)).toBe(true)
  return outcome as T | MirrorError
}

const completion = { verify: true, resume: false, timeoutMs: 5000 }

describe('a mirror job', () => {
  it(
    'copies, becomes ready in sync, and completes ' + 'with both disks equal and clients held',
    async () => {
      const target = new MemoryDevice(SIZE)
      const parts = mirrorTo(target)
      await settle(parts, parts.job.start())
      await reach(parts, 'ready')
      expect(parts.job.status()).toMatchObject({
        activelySynced: true,
        copyMode: 'write-blocking',
        copyModeChoice: 'auto',
        dirtyBytes: 0,
        size: SIZE,
        granularity: CHUNK,
        outcome: null,
      })
      await settle(parts, parts.job.complete(completion))
      expect(parts.job.status()).toMatchObject({ state: 'concluded', outcome: 'completed' })
      const held = start(parts.gate, write(0, 9))
      expect(held.outcome).toBeUndefined()
      expect(Buffer.compare(target.bytes, parts.source.bytes)).toBe(0)
      parts.job.resume()
      expect(held.outcome).toBe(0)
      expect(() => parts.job.resume()).toThrow(/nothing to resume/)
    },
  )

  it('lets the clients go on afterwards if told to', async () => {
    const parts = mirrorTo(new MemoryDevice(SIZE))
    await settle(parts, parts.job.start())
    await reach(parts, 'ready')
    await settle(parts, parts.job.complete({ ...completion, resume: true }))
    expect(start(parts.gate, write(0, 9)).outcome).toBe(0)
    expect(parts.filter.tracking).toBeUndefined()
  })

  it('is a plain pass-through again when it is cancelled', async () => {
    const parts = mirrorTo(new MemoryDevice(SIZE))
    await settle(parts, parts.job.start())
    await settle(parts, parts.job.cancel())
    expect(parts.job.status()).toMatchObject({ outcome: 'cancelled', error: null })
    start(parts.gate, write(0, 9))
    expect(parts.filter.tracking).toBeUndefined()
    expect(parts.clock.armed).toBe(0)
  })

  it('refuses verbs that are not for its state', async () => {
    const parts = mirrorTo(new MemoryDevice(SIZE))
    const early = await settle(parts, parts.job.complete(completion))
    expect(early).toMatchObject({ code: 'wrong-state' })
    await settle(parts, parts.job.start())
    expect(() => parts.job.start()).toThrow(/cannot start a mirror that is/)
  })

  it('says why it fails when the target cannot be reached', async () => {
    const parts = createMirror(createSource(), () => Promise.reject(new Error('refused')))
    const error = await settle(parts, parts.job.start())
    expect(error).toMatchObject({ code: 'target-unreachable' })
    expect(parts.job.status().error).toMatch(/refused/)
  })

  it('refuses a target that is too small before it writes anything', async () => {
    const target = new MemoryDevice(SIZE - CHUNK)
    const parts = mirrorTo(target)
    const error = await settle(parts, parts.job.start())
    expect(error).toMatchObject({ code: 'target-refused' })
    expect(target.bytes.every(byte => byte === 0)).toBe(true)
  })

  it.each([
    [ENOSPC, /full/],
    [EPERM, /refuses writes/],
  ])('fails at once on errno %i of the target', async (errno, sentence) => {
    const target = new FaultyDevice(new MemoryDevice(SIZE), ({ command }) =>
      command === NBD_CMD_WRITE ? errno : 0,
    )
    const parts = mirrorTo(target)
    await settle(parts, parts.job.start())
    await reach(parts, 'concluded')
    expect(parts.job.status().error).toMatch(sentence)
    expect(parts.job.status().targetErrors).toBe(1)
    expect(start(parts.gate, write(0, 9)).outcome).toBe(0)
  })

  it('gets over a target that fails for a while', async () => {
    let failuresLeft = 5
    const target = new FaultyDevice(new MemoryDevice(SIZE), ({ command }) =>
      command === NBD_CMD_WRITE && failuresLeft-- > 0 ? EIO : 0,
    )
    const parts = mirrorTo(target)
    await settle(parts, parts.job.start())
    expect(await runUntil(parts.clock, () => parts.tracking.isSynced)).toBe(true)
    expect(parts.job.status()).toMatchObject({ state: 'ready', targetErrors: 5, error: null })
  })

  it('ends when half of the target fails, though the guest writes to the other', async () => {
    const target = new FaultyDevice(new MemoryDevice(SIZE), ({ command, offset, length }) =>
      command === NBD_CMD_WRITE && offset + length > SIZE / 2 ? EIO : 0,
    )
    const parts = mirrorTo(target)
    await settle(parts, parts.job.start())
    const end = parts.clock.now() + 120_000
    for (let value = 1; parts.job.status().state !== 'concluded'; value++) {
      expect(parts.clock.now()).toBeLessThan(end)
      const written = start(parts.gate, write(0, value % 256))
      await runUntil(parts.clock, () => written.outcome !== undefined)
      await settle(parts, new Promise<void>(resolve => parts.clock.createTimer(resolve).arm(50)))
    }
    expect(parts.job.status().error).toMatch(
      /the target fails with EIO( at offset \d+)?, again and again/,
    )
  })

  it(
    'names the offset of the disk that cannot be ' + 'read, and fails only after several tries',
    async () => {
      const source = createSource()
      const below = new FaultyDevice(source, ({ command, offset, length }) =>
        command === NBD_CMD_READ && offset <= 5 * CHUNK && 5 * CHUNK < offset + length ? EIO : 0,
      )
      const connect = () => Promise.resolve(new MemoryDevice(SIZE))
      const parts = createMirror(source, connect, { below })
      await settle(parts, parts.job.start())
      await reach(parts, 'concluded')
      expect(parts.job.status()).toMatchObject({ outcome: 'failed', targetErrors: 0 })
      expect(parts.job.status().error).toMatch(/reading the disk fails with EIO at offset \d+/)
    },
  )
})

describe('a target that goes away', () => {
  it('is connected again and is sent only what is dirty', async () => {
    const bytes = new MemoryDevice(SIZE)
    let isGone = false
    let connections = 0
    const connect = () => {
      connections++
      isGone = false
      return Promise.resolve(new FaultyDevice(bytes, () => (isGone ? ESHUTDOWN : 0)))
    }
    const parts = createMirror(createSource(), connect)
    await settle(parts, parts.job.start())
    await reach(parts, 'ready')
    // Long enough for what was copied to be flushed.
    await runUntil(parts.clock, () => parts.tracking.log.count === 0)
    const { copiedBytes } = parts.job.status()
    isGone = true
    expect(start(parts.gate, write(3 * CHUNK, 9)).outcome).toBe(0)
    expect(parts.job.state).toBe('waiting')
    await reach(parts, 'ready')
    expect(connections).toBe(2)
    expect(parts.job.status().reconnects).toBe(1)
    expect(parts.job.status().copiedBytes - copiedBytes).toBe(CHUNK)
    expect(Buffer.compare(bytes.bytes, parts.source.bytes)).toBe(0)
  })

  it('is given up after the time allowed', async () => {
    let isFirst = true
    const connect = () => {
      if (!isFirst) return Promise.reject(new Error('no route'))
      isFirst = false
      return Promise.resolve(new FaultyDevice(new MemoryDevice(SIZE), () => ESHUTDOWN))
    }
    const parts = createMirror(createSource(), connect, { reconnectSeconds: 3 })
    await settle(parts, parts.job.start())
    await reach(parts, 'concluded')
    expect(parts.job.status().error).toMatch(/no route/)
    expect(parts.clock.now()).toBeGreaterThanOrEqual(3000)
    expect(parts.clock.now()).toBeLessThan(3100)
  })
})

describe('a switchover', () => {
  it('that finds a difference says where, and the job has failed', async () => {
    const target = new MemoryDevice(SIZE)
    const parts = mirrorTo(target)
    await settle(parts, parts.job.start())
    await reach(parts, 'ready')
    target.bytes[7 * CHUNK + 3]! ^= 1
    const error = await settle(parts, parts.job.complete(completion))
    expect(error).toMatchObject({ code: 'verify-difference' })
    expect((error as MirrorError).message).toContain(`offset ${7 * CHUNK + 3}`)
    expect(parts.job.status().outcome).toBe('failed')
    expect(start(parts.gate, write(0, 9)).outcome).toBe(0)
  })

  it('does not read what both disks report as zero', async () => {
    const source = new MemoryDevice(SIZE)
    const commands: number[] = []
    const below = new FaultyDevice(source, ({ command }) => {
      commands.push(command)
      return 0
    })
    const connect = () => Promise.resolve(new MemoryDevice(SIZE))
    const parts = createMirror(source, connect, { below })
    await settle(parts, parts.job.start())
    await reach(parts, 'ready')
    await settle(parts, parts.job.complete(completion))
    expect(parts.job.status().outcome).toBe('completed')
    expect(commands).toContain(NBD_CMD_BLOCK_STATUS)
    expect(commands).not.toContain(NBD_CMD_READ)
  })

  it('that cannot flush lets the clients go on, and can be tried again', async () => {
    let isFailing = false
    const target = new FaultyDevice(new MemoryDevice(SIZE), ({ command }) =>
      isFailing && command === NBD_CMD_FLUSH ? EIO : 0,
    )
    const parts = mirrorTo(target)
    await settle(parts, parts.job.start())
    await reach(parts, 'ready')
    isFailing = true
    const error = await settle(parts, parts.job.complete(completion))
    expect(error).toBeInstanceOf(MirrorError)
    expect(start(parts.gate, write(0, 9)).outcome).toBe(0)
    isFailing = false
    await reach(parts, 'ready')
    await settle(parts, parts.job.complete(completion))
    expect(parts.job.status().outcome).toBe('completed')
  })
})
