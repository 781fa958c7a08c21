/** One disk at the source: its path, its mirror, and what the operator is told of both. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { DiskPath } from '../chain/disk-path.ts'
import { ControlError } from '../control/control-error.ts'
import type { MirrorStartParams } from '../control/messages.ts'
import type { MirrorStatus } from '../control/status.ts'
import type { RecordedDisk } from './session-record.ts'
import type { DiskState, DiskStatus } from './session-status.ts'

const ANSWER_MS_MAX = 5000
const POLL_MS = 500
/** Connecting to the target comes before the answer. */
const MIRROR_START_MS_MAX = 60_000
/** The last chunks and the last flush, while the guest stands still. */
export const COMPLETE_MS_MAX = 18_000

/** What the end of a session needs of a disk; after a crash there is nothing else of it. */
export interface EndingDisk extends RecordedDisk {
  /** What was parked goes on, to the plain disk. */
  unseal(): Promise<void>
  /** Whatever the guest still sends fails. */
  discard(): Promise<void>
  /** Nothing of the session is left in the path. Harmless if done. */
  stop(): Promise<void>
  status(): DiskStatus
}

export class SourceDisk implements EndingDisk {
  readonly vdev: string
  readonly disk: string
  readonly size: number
  readonly epoch: number
  readonly #path: DiskPath
  #mirror: MirrorStatus | undefined
  #ended: DiskState | undefined
  replacements = 0
  error: string | null = null

  constructor({ vdev, disk, epoch }: RecordedDisk, path: DiskPath) {
    this.vdev = vdev
    this.disk = disk
    this.epoch = epoch
    this.size = path.size
    this.#path = path
  }

  /** The proxy comes into the path and begins to copy. */
  async start(params: MirrorStartParams): Promise<void> {
    await this.#path.start()
    const options = { timeoutMs: MIRROR_START_MS_MAX }
    this.#mirror = await this.#path.call('mirror-start', params, options)
  }

  /**
   * Looks at the mirror. Throws if it has ended; a proxy that is just being replaced is no error.
   */
  async poll(): Promise<void> {
    try {
      this.#mirror = await this.#path.call('mirror-status', {}, { timeoutMs: ANSWER_MS_MAX })
    } catch (error) {
      const isPassing =
        error instanceof ControlError && (error.code === 'closed' || error.code === 'timeout')
      if (isPassing) return
      throw error
    }
    const { outcome, error } = this.#mirror
    if (outcome === 'failed' || outcome === 'cancelled') {
      this.error = error
      throw new Error(`the copy of ${this.vdev} has ended: ${error ?? outcome}`)
    }
  }

  /** What is left can be copied while the guest stands still. */
  get isReady(): boolean {
    return this.#mirror?.state === 'ready'
  }

  /** Nothing is in flight any more, and later requests wait. */
  async suspend(): Promise<void> {
    await this.#path.seal()
  }

  /** The last chunks, and a flush: both copies are equal. Only while suspended. */
  async complete(): Promise<void> {
    const params = { verify: false, resume: false, timeoutMs: COMPLETE_MS_MAX }
    const options = { timeoutMs: COMPLETE_MS_MAX + ANSWER_MS_MAX }
    this.#mirror = await this.#path.call('mirror-complete', params, options)
    const { outcome, error } = this.#mirror
    if (outcome !== 'completed') {
      throw new Error(`${this.vdev} is not equal on both hosts: ${error ?? 'no reason given'}`)
    }
  }

  async unseal(): Promise<void> {
    if (this.#path.state === 'sealed') await this.#path.unseal()
    this.#ended = 'restored'
  }

  async discard(): Promise<void> {
    if (this.#path.state === 'sealed') await this.#path.discard()
    this.#ended = 'handed-over'
  }

  async stop(): Promise<void> {
    await this.#path.stop()
  }

  get #state(): DiskState {
    if (this.#ended !== undefined) return this.#ended
    if (this.#path.state === 'sealed') return 'sealed'
    if (this.#mirror === undefined) return 'waiting'
    if (this.#mirror.state === 'waiting') return 'reconnecting'
    return this.#mirror.activelySynced ? 'synced' : 'copying'
  }

  status(): DiskStatus {
    const mirror = this.#mirror
    const copied = (mirror?.copiedBytes ?? 0) + (mirror?.zeroedBytes ?? 0)
    return {
      vdev: this.vdev,
      disk: this.disk,
      size: this.size,
      state: this.#state,
      dirtyBytes: mirror?.dirtyBytes ?? this.size,
      copiedBytes: copied + (mirror?.skippedBytes ?? 0),
      rateBytesPerSecond: mirror?.rateBytesPerSecond ?? 0,
      dirtyRateBytesPerSecond: mirror?.dirtyRateBytesPerSecond ?? 0,
      etaSeconds: mirror?.etaSeconds ?? null,
      copyMode: mirror?.copyMode ?? null,
      replacements: this.replacements,
      error: this.error ?? mirror?.error ?? null,
    }
  }
}

/** Throws if a copy has ended. */
export async function pollAll(disks: readonly SourceDisk[]): Promise<void> {
  await Promise.all(disks.map(disk => disk.poll()))
}

/** Settles once what is left of all can be copied while the guest stands still. */
export async function untilReady(disks: readonly SourceDisk[], signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted()
    await pollAll(disks)
    if (disks.every(disk => disk.isReady)) return
    await sleep(POLL_MS, undefined, { signal })
  }
}
