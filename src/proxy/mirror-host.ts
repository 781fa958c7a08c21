/**
 * The mirror of one disk: at most one job at a time, the bitmap it works from, and the verbs that
 * the control socket offers. Lives in the data thread.
 */

import type { BlockDevice } from '../block/device.ts'
import { openRemote } from '../block/remote.ts'
import type { RemoteCode } from '../control/control-error.ts'
import type {
  MirrorCompleteParams,
  MirrorSetParams,
  MirrorStartParams,
} from '../control/messages.ts'
import type { MirrorStatus } from '../control/status.ts'
import type { Memory } from '../io/memory.ts'
import { mapAnonymous, unmap } from '../io/mmap.ts'
import { MirrorJob } from '../mirror/job.ts'
import type { Tracking } from '../mirror/tracking.ts'
import { BitmapStore } from './bitmap-store.ts'
import type { ControlCalls, DataCalls, LogLevel } from './calls.ts'
import type { Disk } from './disk.ts'
import type { ThreadLink } from './thread-link.ts'

/**
 * Operations the copier may have under way, and the longest of each (bytes): 4 MiB together. Every
 * operation wakes both processes several times, so few long ones cost the least processor time;
 * longer ones than QEMU's own mirror sends were seen to make qemu-nbd three times as slow.
 */
export const COPY_OPERATIONS_MAX = 4
export const COPY_LENGTH_MAX = 1024 * 1024
/** A target that owes the reply to one request for so long is given up. */
export const TARGET_REQUEST_TIMEOUT_MS = 60_000
/** How often to look whether a mirror that is to be completed is ready. */
const READY_POLL_MS = 10
/** How often to look whether the last marking write is over. */
const DRAIN_POLL_MS = 10

export class MirrorHost {
  readonly #disk: Disk
  readonly #link: ThreadLink<DataCalls, ControlCalls>
  readonly #bitmaps: BitmapStore
  #job: MirrorJob | undefined
  /** A job is being started, runs, or leaves remains that are being cleared away. */
  #isBusy = false
  #isClosed = false
  /** Settles when the remains of the last job are cleared away; never rejects. */
  #finished: Promise<void> = Promise.resolve()

  /**
   * Picks up the bitmap of a killed process, so that no write from now on is missed. Throws a
   * sentence if it is not this disk's.
   */
  constructor(
    disk: Disk,
    link: ThreadLink<DataCalls, ControlCalls>,
    { path, bitmap }: { path: string; bitmap: string | undefined },
  ) {
    this.#disk = disk
    this.#link = link
    this.#bitmaps = new BitmapStore(bitmap, path, disk.device.info.size)
    const tracking = this.#bitmaps.restore()
    if (tracking !== undefined) disk.mirror.attach(tracking)
  }

  /** Dirty bytes of the bitmap that was picked up. */
  get dirtyBytes(): number | undefined {
    const bitmap = this.#bitmaps.tracking?.bitmap
    return bitmap && bitmap.dirtyCount * bitmap.granularity
  }

  async start(params: MirrorStartParams): Promise<MirrorStatus> {
    // A mirror whose end was reported is not in the way of the next one.
    if (this.#job?.state === 'concluded') await this.#finished
    if (this.#isBusy) {
      throw new Refusal('mirror-exists', 'a mirror is running: cancel it first, or watch it')
    }
    this.#isBusy = true
    let job: MirrorJob
    try {
      job = await this.#makeJob(params)
    } catch (error) {
      this.#isBusy = false
      throw error
    }
    await job.start()
    return job.status()
  }

  async #makeJob(params: MirrorStartParams): Promise<MirrorJob> {
    const { target, tlsPskFile, granularity, copyMode, bandwidth, stallMs, reconnectSeconds } =
      params
    const { mirror: filter, gate, engine: clock } = this.#disk
    if (!this.#bitmaps.isFor(target, granularity)) await this.#forget()
    if (this.#isClosed) throw new Refusal('mirror-cancelled', 'the disk is no longer served')
    const tracking = this.#openBitmap(target, granularity)
    const memory = copyMemory(granularity)
    const job = new MirrorJob({
      filter,
      gate,
      clock,
      tracking,
      memory,
      connectTarget: () => this.#connect(target, tlsPskFile),
      copyMode,
      bandwidth,
      stallMs,
      reconnectSeconds,
    })
    this.#job = job
    this.#finished = this.#finish(job, memory)
    this.#log('info', 'mirror starts', { target, dirtyBytes: job.status().dirtyBytes })
    return job
  }

  #openBitmap(target: string, granularity: number): Tracking {
    try {
      return this.#bitmaps.open(target, granularity)
    } catch (error) {
      throw new Refusal('invalid', (error as Error).message)
    }
  }

  status(): MirrorStatus | null {
    return this.#job?.status() ?? null
  }

  set(params: MirrorSetParams): MirrorStatus {
    const job = this.#running()
    job.set(params)
    return job.status()
  }

  async cancel(): Promise<MirrorStatus> {
    const job = this.#running()
    await job.cancel()
    return job.status()
  }

  /**
   * Waits until the mirror is ready, which it may have ceased to be under load, then switches over.
   */
  async complete({ timeoutMs, ...how }: MirrorCompleteParams): Promise<MirrorStatus> {
    const job = this.#running()
    const clock = this.#disk.engine
    const deadline = clock.now() + timeoutMs
    while (job.state === 'running' || job.state === 'waiting') {
      if (clock.now() >= deadline) {
        const advice = 'watch it with mirror wait, or allow more time'
        throw new Refusal('timeout', `the mirror was not ready within ${timeoutMs} ms: ${advice}`)
      }
      await this.#pause(READY_POLL_MS)
    }
    await job.complete({ ...how, timeoutMs: Math.max(1, deadline - clock.now()) })
    return job.status()
  }

  resume(): MirrorStatus {
    const job = this.#running()
    job.resume()
    return job.status()
  }

  /** Ends a running job; the guest's disk is the source, and its requests are not held. */
  async close(): Promise<void> {
    this.#isClosed = true
    const job = this.#job
    if (job !== undefined && job.state !== 'concluded') await job.cancel()
    await this.#finished
    await this.#forget()
  }

  #running(): MirrorJob {
    if (this.#job !== undefined) return this.#job
    throw new Refusal('no-mirror', 'there is no mirror: begin one with mirror start')
  }

  async #connect(uri: string, tlsPskFile: string | undefined): Promise<BlockDevice> {
    const { fd, tls, ...info } = await this.#link.call('connectTarget', { uri, tlsPskFile })
    return openRemote({
      engine: this.#disk.engine,
      fd,
      tls,
      info,
      requestTimeoutMs: TARGET_REQUEST_TIMEOUT_MS,
      onLost: reason => this.#log('warn', 'target lost', { reason }),
    })
  }

  /** Clears away after a job, whatever its outcome: nobody keeps its bits any more. */
  async #finish(job: MirrorJob, memory: readonly Memory[]): Promise<void> {
    await job.concluded
    const { outcome, error, elapsedMs, copiedBytes } = job.status()
    this.#log(outcome === 'failed' ? 'error' : 'info', 'mirror concluded', {
      outcome,
      error,
      elapsedMs,
      copiedBytes,
    })
    await job.closed
    await this.#forget()
    for (const piece of memory) unmap(piece)
    this.#isBusy = false
  }

  /** Stops tracking and drops the bits, once no write that still marks them is under way. */
  async #forget(): Promise<void> {
    const { tracking } = this.#bitmaps
    if (tracking === undefined) return
    this.#disk.mirror.detach()
    while (tracking.writesCount > 0) await this.#pause(DRAIN_POLL_MS)
    try {
      this.#bitmaps.remove()
    } catch (error) {
      this.#log('warn', 'bitmap file stays behind, empty', { reason: (error as Error).message })
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => this.#disk.engine.createTimer(resolve).arm(ms))
  }

  #log(level: LogLevel, message: string, fields: Record<string, unknown>): void {
    void this.#link.call('log', { level, message, fields }).catch(() => undefined)
  }
}

/** A verb that makes no sense now; crosses to the control socket with its code. */
class Refusal extends Error {
  override readonly name = 'Refusal'
  readonly code: RemoteCode

  constructor(code: RemoteCode, message: string) {
    super(message)
    this.code = code
  }
}

/** One piece for each operation of the copier; whole chunks. */
function copyMemory(granularity: number): Memory[] {
  const length = Math.max(COPY_LENGTH_MAX, granularity)
  return Array.from({ length: COPY_OPERATIONS_MAX }, () => mapAnonymous(length))
}
