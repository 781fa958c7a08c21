/** blkferry as the source of a mirror: a serving process, driven over its control socket. */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectControl } from '../../control/channel.ts'
import type { ControlClient } from '../../control/client.ts'
import type { MirrorStatus } from '../../control/status.ts'
import type { MirrorSource, MirrorTarget } from './mirror-source.ts'
import { controlSocketOf, startServer, uriOf } from './servers.ts'
import type { Service } from './service.ts'

const ANSWER_MS_MAX = 60_000
/** How much later than it happened "ready" may be noticed. */
const POLL_MS_MIN = 1
const POLL_MS_MAX = 10
const GRANULARITY = 64 * 1024
export const STALL_MS = 100
const RECONNECT_SECONDS = 60

export interface OwnOptions {
  readonly path: string
  readonly socket: string
  readonly copyMode: 'auto' | 'background' | 'write-blocking'
  /** A file for the dirty bitmap; without one it is memory of the process. */
  readonly bitmap?: string
}

export class OwnSource implements MirrorSource {
  readonly #service: Service
  readonly #control: ControlClient
  readonly #copyMode: OwnOptions['copyMode']

  private constructor(service: Service, control: ControlClient, { copyMode }: OwnOptions) {
    this.#service = service
    this.#control = control
    this.#copyMode = copyMode
  }

  static async serve(options: OwnOptions): Promise<OwnSource> {
    const service = await startServer('blkferry', { ...options, standsBy: true })
    try {
      return new OwnSource(service, await connectControl(controlSocketOf(options.socket)), options)
    } catch (error) {
      await service.killed()
      throw error
    }
  }

  get uri(): string {
    return uriOf(this.#service.socket)
  }

  get pid(): number {
    return this.#service.pid
  }

  async start({ socket, tls }: MirrorTarget): Promise<void> {
    // The key goes beside the URI, which therefore names no file.
    const target = uriOf(socket, tls).replace(/&tls-psk-file=.*/, '')
    const params = {
      target,
      copyMode: this.#copyMode,
      bandwidth: 0,
      granularity: GRANULARITY,
      stallMs: STALL_MS,
      reconnectSeconds: RECONNECT_SECONDS,
      ...(tls !== undefined && { tlsPskFile: tls.file }),
    }
    await this.#control.call('mirror-start', params, { timeoutMs: ANSWER_MS_MAX })
  }

  async ready(timeoutMs: number): Promise<void> {
    await this.until(({ state }) => state === 'ready', timeoutMs)
  }

  /** The first status that `isEnd`; rejects if the mirror ends before, or after `timeoutMs`. */
  async until(isEnd: (status: MirrorStatus) => boolean, timeoutMs: number): Promise<MirrorStatus> {
    const deadline = performance.now() + timeoutMs
    for (;;) {
      const status = await this.status()
      if (isEnd(status)) return status
      if (status.state === 'concluded') {
        throw new Error(`the mirror ended early: ${status.error ?? status.outcome}`)
      }
      if (performance.now() > deadline) throw new Error(`the mirror is still ${status.state}`)
      await sleep(pauseMs(status))
    }
  }

  status(): Promise<MirrorStatus> {
    return this.#control.call('mirror-status', {}, { timeoutMs: ANSWER_MS_MAX })
  }

  async dirtyBytes(): Promise<number> {
    return (await this.status()).dirtyBytes
  }

  async complete(): Promise<number> {
    const params = { verify: false, resume: true, timeoutMs: ANSWER_MS_MAX }
    const { heldMs } = await this.#control.call('mirror-complete', params, {
      timeoutMs: ANSWER_MS_MAX,
    })
    return heldMs
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#control.close()
    await this.#service[Symbol.asyncDispose]()
  }
}

/** Half of the time left: asking costs little then, and the end is not missed by much. */
function pauseMs({ dirtyBytes, copiedBytes, elapsedMs }: MirrorStatus): number {
  const leftMs = (dirtyBytes * elapsedMs) / Math.max(1, copiedBytes)
  return Math.max(POLL_MS_MIN, Math.min(POLL_MS_MAX, leftMs / 2))
}
