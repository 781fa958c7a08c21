/**
 * The remote leaf against the suite, on both engines, with servers of other projects at the far
 * end.
 */
import { truncate, writeFile } from 'node:fs/promises'
import { describe } from 'vitest'
import { ENGINE_NAMES, type EngineName } from '../../src/io/engine.ts'
import { openEngine } from '../../src/io/open-engine.ts'
import { MAPPED_MEMORY } from '../support/mapped-memory.ts'
import { type Peer, startNbdkit, startQemuNbd } from '../support/peers.ts'
import { connectRemote } from '../support/remote.ts'
import { describeWith } from '../support/requires.ts'
import { temporary } from '../support/temporary.ts'
import { describeBlockDevice, type Open, type Opened } from './conformance.ts'

const SIZE = 2 * 1024 * 1024

type StartPeer = (socket: string, file: string) => Promise<Peer>

function opener(engineName: EngineName, startPeer: StartPeer, plain = false): Open {
  return async (): Promise<Opened> => {
    const folder = await temporary()
    const file = folder.file('disk')
    await writeFile(file, '')
    await truncate(file, SIZE)
    const peer = await startPeer(folder.file('socket'), file)
    const { engine } = openEngine(engineName)
    const device = await connectRemote(engine, peer.socket, { plain })
    const release = async (): Promise<void> => {
      await engine.close()
      await peer[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    }
    return { device, source: MAPPED_MEMORY, release }
  }
}

const memory: StartPeer = socket => startNbdkit(socket, ['memory', String(SIZE)])
const small: StartPeer = socket =>
  startNbdkit(socket, [
    '--filter=blocksize-policy',
    'memory',
    String(SIZE),
    'blocksize-minimum=512',
    'blocksize-preferred=4096',
    'blocksize-maximum=65536',
    'blocksize-error-policy=error',
  ])
const readOnly: StartPeer = socket => startNbdkit(socket, ['--readonly', 'memory', String(SIZE)])
const qemu: StartPeer = (socket, file) => startQemuNbd(socket, ['--format=raw', file])

describe.each(ENGINE_NAMES)('%s', engine => {
  describeWith(['nbdkit'], 'nbdkit', () => {
    describeBlockDevice('structured replies', opener(engine, memory))
    describeBlockDevice('simple replies', opener(engine, memory, true))
    describeBlockDevice('requests of at most 64 KiB in blocks of 512', opener(engine, small))
    describeBlockDevice('read-only', opener(engine, readOnly))
  })
  describeWith(['qemu-nbd'], 'qemu-nbd', () => {
    describeBlockDevice('structured replies', opener(engine, qemu))
    describeBlockDevice('simple replies', opener(engine, qemu, true))
  })
})
