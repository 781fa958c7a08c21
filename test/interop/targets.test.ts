/**
 * Servers of other projects as targets of our mirror, while a client writes: whatever the server is
 * like, the disks are identical at the end, every acknowledged write is there, and the client sees
 * no error.
 */
import { expect, test } from 'vitest'
import { mustRun } from '../../src/demo/command.ts'
import { fastFolder, firstDifference, makeDisk, makeEmpty } from '../support/blkferry.ts'
import { migrate, prepare } from '../support/migration.ts'
import { type Peer, startNbdkit, startNbdServer, startQemuNbd } from '../support/peers.ts'
import { describeWith } from '../support/requires.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const SIZE = 16 * 1024 * 1024 + 4096

interface Case {
  readonly name: string
  start(socket: string, copy: string, folder: Temporary): Promise<Peer>
  /** Where the target's content can be read afterwards as a raw file; `copy` without it. */
  raw?(copy: string, folder: Temporary): Promise<string>
}

/** nbdkit over the file, behind filters. */
function filtered(filters: string, ...parameters: readonly string[]): Case {
  const words = filters.split(' ').map(filter => `--filter=${filter}`)
  return {
    name: `nbdkit file behind ${[filters, ...parameters].join(' ')}`,
    start: (socket, copy) => startNbdkit(socket, [...words, 'file', copy, ...parameters]),
  }
}

const nbdkitCases: readonly Case[] = [
  { name: 'nbdkit file', start: (socket, copy) => startNbdkit(socket, ['file', copy]) },
  filtered('delay', 'delay-write=5ms', 'delay-zero=5ms'),
  filtered('rate', 'rate=400M'),
  filtered('nozero'),
  filtered('nozero', 'zeromode=notrim'),
  filtered('noextents'),
  filtered('noextents nozero'),
  filtered('noparallel'),
  filtered('fua', 'fuamode=emulate'),
  filtered(
    'blocksize-policy',
    'blocksize-minimum=4096',
    'blocksize-preferred=65536',
    'blocksize-maximum=131072',
    'blocksize-error-policy=error',
  ),
  // Some writes fail: their chunks stay dirty and are sent again.
  filtered('error', 'error-pwrite=EIO', 'error-pwrite-rate=2%'),
  filtered('error', 'error-zero=EIO', 'error-zero-rate=20%'),
  filtered('retry error', 'retries=5', 'retry-delay=1', 'error-pwrite-rate=1%'),
]

const qemuCases: readonly Case[] = [
  {
    name: 'qemu-nbd with a raw file',
    start: (socket, copy) => startQemuNbd(socket, ['--format=raw', '--discard=unmap', copy]),
  },
  {
    name: 'qemu-nbd with qcow2',
    start: async (socket, copy) => {
      await mustRun(['qemu-img', 'create', '-q', '-f', 'qcow2', `${copy}.qcow2`, String(SIZE)])
      return await startQemuNbd(socket, ['--format=qcow2', '--discard=unmap', `${copy}.qcow2`])
    },
    raw: async copy => {
      const argv = ['qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', `${copy}.qcow2`, copy]
      await mustRun(argv)
      return copy
    },
  },
]

const nbdServerCase: Case = {
  name: 'nbd-server',
  start: (socket, copy, folder) => startNbdServer(socket, copy, folder.file('nbd-server.conf')),
}

function testTarget({ name, start, raw }: Case): void {
  test(name, async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    const copy = await makeEmpty(folder.file('copy'), SIZE)
    const socket = folder.file('target.nbd')
    const target = await start(socket, copy, folder)
    try {
      await using source = await prepare(folder, { path, size: SIZE })
      await migrate(source, target.uri)
    } finally {
      await target[Symbol.asyncDispose]()
    }
    const content = raw === undefined ? copy : await raw(copy, folder)
    expect(await firstDifference(path, content)).toBeUndefined()
  })
}

describeWith(['nbdkit'], 'a migration to', () => {
  for (const each of nbdkitCases) testTarget(each)
})

describeWith(['qemu-nbd', 'qemu-img'], 'a migration to', () => {
  for (const each of qemuCases) testTarget(each)
})

describeWith(['nbd-server'], 'a migration to', () => testTarget(nbdServerCase))
