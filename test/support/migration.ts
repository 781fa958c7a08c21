/**
 * A migration with everything around it: a serving process, a client that writes meanwhile, the
 * mirror, the checks.
 */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from 'nbd-client-ts'
import type { MirrorStartParams } from '../../src/control/messages.ts'
import type { MirrorStatus } from '../../src/control/status.ts'
import { BLOCK_SIZE } from '../../src/demo/numbered-block.ts'
import type { ServeProcess } from '../../src/demo/serve-process.ts'
import { VerifyingWriter } from '../../src/demo/verifying-writer.ts'
import { MirrorControl, startServe } from './blkferry.ts'
import { Random } from './random.ts'
import type { Temporary } from './temporary.ts'

const READY_WRITES_MS = 200

export interface Source extends AsyncDisposable {
  readonly serve: ServeProcess
  readonly client: NbdClient
  readonly writer: VerifyingWriter
  readonly mirror: MirrorControl
}

export interface SourceOptions {
  readonly path: string
  /** Of the disk, in bytes: the client writes all over it. */
  readonly size: number
  readonly words?: readonly string[]
  /** Writes per second. */
  readonly rate?: number
  readonly seed?: number
}

/**
 * Serves a disk as `source` in `folder`, with a client that is connected and does not write yet.
 */
export async function prepare(
  folder: Temporary,
  { path, size, words = [], rate = 500, seed = 7 }: SourceOptions,
): Promise<Source> {
  const random = new Random(seed)
  const writer = new VerifyingWriter({
    blockCount: Math.floor(size / BLOCK_SIZE),
    offsetOf: index => index * BLOCK_SIZE,
    rate,
    depth: 8,
    random: () => random.u32() / 2 ** 32,
  })
  const serve = await startServe(folder, 'source', { path, words })
  const client = await NbdClient.connect(serve.uri)
  const mirror = await MirrorControl.connect(folder, 'source')
  const dispose = async (): Promise<void> => {
    mirror[Symbol.dispose]()
    writer.detach()
    const left = client.disconnect()
    await serve.stop()
    await left
  }
  return { serve, client, writer, mirror, [Symbol.asyncDispose]: dispose }
}

/**
 * Mirrors to the export `target` (a URI) while the client writes, hands over, and checks on the
 * target that every acknowledged write is there. The client saw no error.
 */
export async function migrate(
  { client, writer, mirror }: Source,
  target: string,
  params: Partial<MirrorStartParams> = {},
): Promise<MirrorStatus> {
  writer.attach(client)
  await mirror.start(target, params)
  await mirror.ready()
  await sleep(READY_WRITES_MS)
  const status = await mirror.complete({ verify: true })
  writer.detach()
  assert.equal(status.outcome, 'completed')
  assert.equal(status.dirtyBytes, 0)
  assert.deepEqual(writer.errors, [])
  await using reader = await NbdClient.connect(target)
  const { checked, lost } = await writer.verify(reader)
  assert.ok(checked > 0, 'the client has written nothing')
  assert.deepEqual(lost, [])
  return status
}
