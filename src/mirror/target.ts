/**
 * The target while it is connected: its device, and flushes one at a time. Whoever asks for a flush
 * while one is under way shares the next, so a flush covers every write that settled before it was
 * asked for.
 *
 * A flush that fails says that some writes were lost, not which: everything since the last flush is
 * dirty again. That is also why flushes do not overlap, since a kernel reports such a loss to one
 * of them only.
 */
import { NBD_CMD_FLUSH } from 'nbd-client-ts'
import type { BlockDevice, DeviceInfo } from '../block/device.ts'
import { ESHUTDOWN } from '../block/errno.ts'
import { type Completion, Request } from '../block/request.ts'
import type { Tracking } from './tracking.ts'

/** Hears how a flush of the target went. */
export interface FlushWaiter {
  targetFlushed(error: number): void
}

export class Target implements Completion {
  readonly device: BlockDevice
  readonly info: DeviceInfo
  readonly tracking: Tracking
  /** Whether zeroing is fast there; taken back when it has refused FAST_ZERO. */
  canFastZero: boolean
  /** Set when its connection is gone or given up: nothing more is to be submitted. */
  isLost = false
  readonly #request = new Request()
  #waiting: FlushWaiter[] = []
  #served: FlushWaiter[] = []
  #isFlushing = false
  #snapshot = 0

  constructor(device: BlockDevice, tracking: Tracking) {
    this.device = device
    this.info = device.info
    this.tracking = tracking
    this.canFastZero = device.info.canWriteZeroes && device.info.canFastZero
  }

  get isFlushing(): boolean {
    return this.#isFlushing
  }

  /** Flushes what has settled by now. */
  flush(waiter: FlushWaiter): void {
    this.#waiting.push(waiter)
    if (!this.#isFlushing) this.#start()
  }

  completed({ error }: Request): void {
    if (error === 0) this.tracking.log.flushed(this.#snapshot)
    else this.tracking.targetLost()
    this.#isFlushing = false
    const served = this.#served
    for (let i = 0; i < served.length; i++) served[i]!.targetFlushed(error)
    served.length = 0
    if (this.#waiting.length > 0 && !this.#isFlushing) this.#start()
  }

  #start(): void {
    const served = this.#waiting
    this.#waiting = this.#served
    this.#served = served
    this.#isFlushing = true
    this.#snapshot = this.tracking.log.snapshot()
    this.#request.set(NBD_CMD_FLUSH, 0, 0, 0)
    this.#request.push(this)
    if (this.isLost) this.#request.complete(ESHUTDOWN)
    else if (this.info.canFlush) this.device.submit(this.#request)
    else this.#request.complete(0)
  }
}
