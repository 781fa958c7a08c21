/**
 * The built command as real processes: what tests of the whole need. `npm run build` comes first.
 */
import { type FileHandle, open, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectControl } from '../../src/control/channel.ts'
import type { ControlClient } from '../../src/control/client.ts'
import type { MirrorStartParams } from '../../src/control/messages.ts'
import type { MirrorStatus } from '../../src/control/status.ts'
import { type Finished, runTool } from '../../src/demo/command.ts'
import { BLKFERRY, type ServeOptions, ServeProcess } from '../../src/demo/serve-process.ts'
import { Random } from './random.ts'
import type { Temporary } from './temporary.ts'

const ANSWER_MS_MAX = 30_000
const COMPLETE_MS_MAX = 30_000
const POLL_MS = 50

export const ENGINES = ['uring', 'libuv'] as const
export type EngineName = (typeof ENGINES)[number]

/** `blkferry WORDS`, run to its end. */
export function blkferry(...words: readonly string[]): Promise<Finished> {
  return runTool([process.execPath, BLKFERRY, ...words], AbortSignal.timeout(ANSWER_MS_MAX))
}

export function socketUri(path: string): string {
  return `nbd+unix:///?socket=${path}`
}

/** Serves `path` on unix sockets in `folder` that have the name `name`. */
export function startServe(
  folder: Temporary,
  name: string,
  options: Partial<ServeOptions> & Pick<ServeOptions, 'path'>,
): Promise<ServeProcess> {
  const listen = socketUri(folder.file(`${name}.nbd`))
  return ServeProcess.start({ listen, control: folder.file(`${name}.control`), ...options })
}

/** Memory if there is enough of it for disks, else the system's temporary folder. */
export async function fastFolder(): Promise<string> {
  const { bavail, bsize } = await statfs('/dev/shm').catch(() => ({ bavail: 0, bsize: 0 }))
  return bavail * bsize > 2 ** 31 ? '/dev/shm' : tmpdir()
}

/**
 * A file of `size` bytes: random data, with a hole of the same length after every 256 KiB of it.
 */
export async function makeDisk(path: string, size: number, seed = 1): Promise<string> {
  const piece = 256 * 1024
  const data = new Random(seed).bytes(piece)
  const file = await open(path, 'w')
  try {
    await file.truncate(size)
    for (let at = 0; at < size; at += 2 * piece) {
      data[0] = at / piece
      await file.write(data, 0, Math.min(piece, size - at), at)
    }
  } finally {
    await file.close()
  }
  return path
}

export async function makeEmpty(path: string, size: number): Promise<string> {
  const file = await open(path, 'w')
  await file.truncate(size).finally(() => file.close())
  return path
}

/**
 * Offset of the first byte that differs, or undefined. Lengths must agree, unless `b` may be
 * longer.
 */
export async function firstDifference(a: string, b: string): Promise<number | undefined> {
  const [left, right] = await Promise.all([open(a, 'r'), open(b, 'r')])
  try {
    return await compareFiles(left, right)
  } finally {
    await Promise.all([left.close(), right.close()])
  }
}

async function compareFiles(left: FileHandle, right: FileHandle): Promise<number | undefined> {
  const buffers = [Buffer.alloc(2 ** 20), Buffer.alloc(2 ** 20)] as const
  for (let at = 0; ; ) {
    const { bytesRead } = await left.read(buffers[0], 0, buffers[0].length, at)
    if (bytesRead === 0) return undefined
    await right.read(buffers[1], 0, bytesRead, at)
    const [a, b] = [buffers[0].subarray(0, bytesRead), buffers[1].subarray(0, bytesRead)]
    if (Buffer.compare(a, b) !== 0) return at + a.findIndex((byte, index) => byte !== b[index])
    at += bytesRead
  }
}

/** The mirror of one serving process, over its control socket. */
export class MirrorControl implements Disposable {
  readonly #client: ControlClient

  private constructor(client: ControlClient) {
    this.#client = client
  }

  static async connect(folder: Temporary, name: string): Promise<MirrorControl> {
    return new MirrorControl(await connectControl(folder.file(`${name}.control`)))
  }

  start(target: string, params: Partial<MirrorStartParams> = {}): Promise<MirrorStatus> {
    const defaults = { copyMode: 'auto', bandwidth: 0, granularity: 65_536 } as const
    const all = { ...defaults, stallMs: 100, reconnectSeconds: 60, ...params, target }
    return this.#client.call('mirror-start', all, { timeoutMs: ANSWER_MS_MAX })
  }

  status(): Promise<MirrorStatus> {
    return this.#client.call('mirror-status', {}, { timeoutMs: ANSWER_MS_MAX })
  }

  set(params: { bandwidth?: number; stallMs?: number }): Promise<MirrorStatus> {
    return this.#client.call('mirror-set', params, { timeoutMs: ANSWER_MS_MAX })
  }

  /**
   * Settles with the first status that `isEnd`; rejects if the mirror ends before, or after
   * `timeoutMs`.
   */
  async until(
    isEnd: (status: MirrorStatus) => boolean,
    timeoutMs = ANSWER_MS_MAX,
  ): Promise<MirrorStatus> {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      const status = await this.status()
      if (isEnd(status)) return status
      const isLate = performance.now() > deadline
      if (isLate || status.state === 'concluded') {
        throw new Error(`${isLate ? 'late' : 'ended'}: ${JSON.stringify(status)}`)
      }
      await sleep(POLL_MS)
    }
  }

  ready(timeoutMs?: number): Promise<MirrorStatus> {
    return this.until(({ state }) => state === 'ready', timeoutMs)
  }

  synced(timeoutMs?: number): Promise<MirrorStatus> {
    return this.until(({ activelySynced }) => activelySynced, timeoutMs)
  }

  complete({ verify = false, resume = false } = {}): Promise<MirrorStatus> {
    const params = { verify, resume, timeoutMs: COMPLETE_MS_MAX }
    const call = { timeoutMs: COMPLETE_MS_MAX + ANSWER_MS_MAX }
    return this.#client.call('mirror-complete', params, call)
  }

  resume(): Promise<MirrorStatus> {
    return this.#client.call('mirror-resume', {}, { timeoutMs: ANSWER_MS_MAX })
  }

  [Symbol.dispose](): void {
    this.#client.close()
  }
}
