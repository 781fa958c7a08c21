// The client against unmodified nbdkit, qemu-nbd and nbd-server.

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { expect, test } from 'vitest'
import {
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NbdClient,
} from '../src/index.ts'
import { describeWith, ServerProcess, TemporaryDirectory } from './support/tools.ts'

const MIB = 1024 * 1024

/** What every writable server must do, whatever else it offers. */
async function exercise(client: NbdClient): Promise<void> {
  const data = randomBytes(MIB)
  await client.write(3 * MIB, data)
  await client.flush()
  expect((await client.read(3 * MIB, MIB)).equals(data)).toBe(true)
  const scattered = Array.from({ length: 200 }, (_, index) => index * 4096)
  await Promise.all(scattered.map(at => client.write(at, data.subarray(at, at + 4096))))
  const read = await Promise.all(scattered.map(at => client.read(at, 4096)))
  expect(Buffer.concat(read).equals(data.subarray(0, 200 * 4096))).toBe(true)
  if (client.has(NBD_FLAG_SEND_FUA)) await client.write(0, data.subarray(0, 4096), { fua: true })
  if (client.has(NBD_FLAG_SEND_TRIM)) await client.trim(4 * MIB, MIB)
}

async function exerciseZeroes(client: NbdClient): Promise<void> {
  await client.write(MIB, randomBytes(MIB))
  await client.writeZeroes(MIB, MIB / 2)
  await client.writeZeroes(MIB + MIB / 2, MIB / 2, { noHole: true })
  expect((await client.read(MIB, MIB)).every(byte => byte === 0)).toBe(true)
}

describeWith(['nbdkit'], 'nbdkit', () => {
  test('reads, writes, zeroes and reports allocation', async () => {
    await using server = await ServerProcess.nbdkit('memory', '8M')
    await using client = await NbdClient.connect(server.uri())
    expect(client.size).toBe(8 * MIB)
    expect(client.info.structuredReplies).toBe(true)
    expect(await client.blockStatus(0, 8 * MIB)).toEqual([
      { length: 8 * MIB, hole: true, zero: true },
    ])
    await exercise(client)
    await exerciseZeroes(client)
    await client.writeZeroes(0, 8 * MIB)
    await client.write(2 * MIB, Buffer.alloc(MIB, 7))
    const extents = await client.blockStatus(0, 8 * MIB)
    expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(8 * MIB)
    expect(extents.find(({ zero }) => !zero)?.length).toBe(MIB)
  })

  test('works without structured replies', async () => {
    await using server = await ServerProcess.nbdkit('--no-sr', 'memory', '8M')
    await using client = await NbdClient.connect(server.uri())
    expect(client.info).toMatchObject({ structuredReplies: false, contexts: [] })
    await exercise(client)
    await expect(client.blockStatus(0, 4096)).rejects.toMatchObject({ code: 'ENOTSUP' })
  })

  test('splits by the size constraints it is told', async () => {
    await using server = await ServerProcess.nbdkit(
      '--filter=blocksize-policy',
      'memory',
      '8M',
      'blocksize-minimum=512',
      'blocksize-preferred=4096',
      'blocksize-maximum=64K',
      'blocksize-error-policy=error',
    )
    await using client = await NbdClient.connect(server.uri())
    expect(client.info.blockSize).toEqual({ minimum: 512, preferred: 4096, maximum: 65536 })
    await exercise(client)
    await expect(client.read(1, 512)).rejects.toMatchObject({ name: 'NbdError', code: 'EINVAL' })
  })

  test('an error of one request fails that request alone', async () => {
    await using server = await ServerProcess.nbdkit(
      '--filter=error',
      'memory',
      '8M',
      'error-pwrite=ENOSPC',
      'error-pwrite-rate=100%',
    )
    await using client = await NbdClient.connect(server.uri())
    const failing = client.write(0, Buffer.alloc(4096))
    const reading = client.read(0, 4096)
    await expect(failing).rejects.toMatchObject({ name: 'NbdError', code: 'ENOSPC', value: 28 })
    expect(await reading).toHaveLength(4096)
  })

  test('many large requests in flight keep their data apart', async () => {
    await using server = await ServerProcess.nbdkit('memory', '64M')
    await using client = await NbdClient.connect(server.uri(), { inFlightMax: 8 })
    const blocks = Array.from({ length: 32 }, (_, index) => Buffer.alloc(2 * MIB, index + 1))
    await Promise.all(blocks.map((block, index) => client.write(index * 2 * MIB, block)))
    const read = await Promise.all(blocks.map((_, index) => client.read(index * 2 * MIB, 2 * MIB)))
    expect(read.every((block, index) => block.equals(blocks[index]!))).toBe(true)
  })

  test('a fast zero that would be slow is refused', async () => {
    await using server = await ServerProcess.nbdkit(
      '--filter=nozero',
      'memory',
      '8M',
      'zeromode=emulate',
    )
    await using client = await NbdClient.connect(server.uri())
    expect(client.has(NBD_FLAG_SEND_FAST_ZERO)).toBe(true)
    const zeroing = client.writeZeroes(0, MIB, { fastZero: true })
    await expect(zeroing).rejects.toMatchObject({ code: 'ENOTSUP' })
  })

  test('a server that dies fails every request and no later one hangs', async () => {
    const server = await ServerProcess.nbdkit('--filter=delay', 'memory', '8M', 'rdelay=30')
    const client = await NbdClient.connect(server.uri())
    const reading = Promise.allSettled([client.read(0, 4096), client.read(4096, 4096)])
    await server.kill()
    for (const outcome of await reading) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { name: 'ConnectionError' } })
    }
    await expect(client.read(0, 512)).rejects.toMatchObject({ name: 'ConnectionError' })
    expect(client.isConnected).toBe(false)
    await client.disconnect()
    await server[Symbol.asyncDispose]()
  })

  test('a request without a reply times out', async () => {
    await using server = await ServerProcess.nbdkit('--filter=delay', 'memory', '8M', 'rdelay=30')
    const client = await NbdClient.connect(server.uri(), { requestTimeoutMs: 100 })
    await expect(client.read(0, 4096)).rejects.toMatchObject({ code: 'timeout' })
    await server.kill()
  })

  test('a stream of the caller works like a URI', async () => {
    await using server = await ServerProcess.nbdkit('memory', '8M')
    await using client = await NbdClient.connect(connect(server.socketPath))
    await exercise(client)
  })

  test('info tells about an export and list lists it', async () => {
    await using server = await ServerProcess.nbdkit(
      '--filter=exportname',
      'memory',
      '8M',
      'exportname=first',
      'exportname=second',
      'exportname-list=explicit',
      'exportname-strict=true',
      'exportdesc=fixed:words',
    )
    const listed = await NbdClient.list(server.uri())
    expect(listed).toEqual([
      { name: 'first', description: 'words' },
      { name: 'second', description: 'words' },
    ])
    expect(await NbdClient.info(server.uri('second'))).toMatchObject({ size: 8 * MIB })
    await expect(NbdClient.connect(server.uri('third'))).rejects.toMatchObject({
      name: 'NbdError',
      code: 'NBD_REP_ERR_UNKNOWN',
    })
  })

  test('an oldstyle server is refused', async () => {
    await using server = await ServerProcess.nbdkit('--oldstyle', 'memory', '8M')
    await expect(NbdClient.connect(server.uri())).rejects.toMatchObject({ name: 'ProtocolError' })
  })

  test('a server that only knows NBD_OPT_EXPORT_NAME is enough', async () => {
    await using server = await ServerProcess.nbdkit('--mask-handshake=0', 'memory', '8M')
    await using client = await NbdClient.connect(server.uri())
    expect(client.info.structuredReplies).toBe(false)
    await exercise(client)
  })
})

describeWith(['qemu-nbd', 'qemu-img'], 'qemu-nbd', () => {
  const start = (...parameters: string[]): Promise<ServerProcess> =>
    ServerProcess.start((directory, socketPath) => {
      const image = directory.file('disk.raw')
      execFileSync('truncate', ['-s', '8M', image])
      const common = ['-f', 'raw', '-x', 'disk', '-D', 'a qemu disk', '--persistent']
      return ['qemu-nbd', ...common, '-k', socketPath, ...parameters, image]
    })

  test('reads, writes, zeroes and reports allocation', async () => {
    await using server = await start('--discard=unmap')
    await using client = await NbdClient.connect(server.uri('disk'))
    expect(client.info).toMatchObject({ size: 8 * MIB, description: 'a qemu disk' })
    await exercise(client)
    await exerciseZeroes(client)
    const extents = await client.blockStatus(0, 8 * MIB)
    expect(extents.reduce((sum, { length }) => sum + length, 0)).toBe(8 * MIB)
    expect(extents.some(({ hole }) => hole) && extents.some(({ hole }) => !hole)).toBe(true)
  })

  test('a write to a read-only export is refused before it is sent', async () => {
    await using server = await start('--read-only')
    await using client = await NbdClient.connect(server.uri('disk'))
    await expect(client.write(0, Buffer.alloc(512))).rejects.toMatchObject({ code: 'EPERM' })
  })

  test('a wrong export name is refused', async () => {
    await using server = await start()
    await expect(NbdClient.connect(server.uri('other'))).rejects.toMatchObject({
      code: 'NBD_REP_ERR_UNKNOWN',
    })
    expect(await NbdClient.list(server.uri())).toEqual([
      { name: 'disk', description: 'a qemu disk' },
    ])
  })
})

describeWith(['nbd-server'], 'nbd-server', () => {
  test('reads and writes', async () => {
    await using server = await ServerProcess.start((directory, socketPath) => {
      const image = directory.file('disk.raw', new Uint8Array(8 * MIB))
      const settings = `[generic]\nunixsock=${socketPath}\nallowlist=true\n`
      const disk = `[disk]\nexportname=${image}\nflush=true\nfua=true\ntrim=true\n`
      return ['nbd-server', '-d', '-C', directory.file('config', settings + disk)]
    })
    expect((await NbdClient.list(server.uri())).map(({ name }) => name)).toEqual(['disk'])
    await using client = await NbdClient.connect(server.uri('disk'))
    expect(client.size).toBe(8 * MIB)
    await exercise(client)
  })
})

test('nobody listening is a ConnectionError', async () => {
  using directory = new TemporaryDirectory()
  const connecting = NbdClient.connect(`nbd+unix:///?socket=${directory.path}/none`)
  await expect(connecting).rejects.toMatchObject({ name: 'ConnectionError', code: 'connect' })
})
