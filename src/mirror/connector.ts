/**
 * Connects the target: once at the start, and with back-off after it was lost, for as long as
 * allowed. One attempt at a time; the answer to an attempt that nobody wants any more is closed.
 */
import type { BlockDevice } from '../block/device.ts'
import type { Clock, Timer } from '../io/clock.ts'

/** Back-off between attempts (milliseconds). */
export const RECONNECT_MS_MIN = 100
export const RECONNECT_MS_MAX = 5000

export interface ConnectorListener {
  connected(device: BlockDevice): void
  /** The first attempt failed, or the time for further ones is over. */
  gaveUp(cause: unknown): void
}

export class Connector {
  readonly #clock: Clock
  readonly #connectTarget: () => Promise<BlockDevice>
  readonly #listener: ConnectorListener
  readonly #timer: Timer
  #attempt = 0
  #delayMs = RECONNECT_MS_MIN
  #giveUpAt = 0

  constructor(
    clock: Clock,
    connectTarget: () => Promise<BlockDevice>,
    listener: ConnectorListener,
  ) {
    this.#clock = clock
    this.#connectTarget = connectTarget
    this.#listener = listener
    this.#timer = clock.createTimer(() => this.#try())
  }

  /** One attempt. */
  connect(): void {
    this.#giveUpAt = -Infinity
    this.#try()
  }

  /** Attempts for at most `seconds`, 0 for as long as it takes. */
  reconnect(seconds: number): void {
    this.#giveUpAt = seconds === 0 ? Infinity : this.#clock.now() + seconds * 1000
    this.#delayMs = RECONNECT_MS_MIN
    this.#try()
  }

  /** Wants no connection any more. */
  abandon(): void {
    this.#attempt++
    this.#timer.disarm()
  }

  #try(): void {
    const attempt = ++this.#attempt
    this.#connectTarget().then(
      device => {
        if (attempt === this.#attempt) this.#listener.connected(device)
        else closeQuietly(device)
      },
      (cause: unknown) => {
        if (attempt === this.#attempt) this.#failed(cause)
      },
    )
  }

  #failed(cause: unknown): void {
    const leftMs = this.#giveUpAt - this.#clock.now()
    if (leftMs < 1) {
      this.#listener.gaveUp(cause)
      return
    }
    // The last attempt is made when the time is over, not long before.
    this.#timer.arm(Math.min(this.#delayMs, leftMs))
    this.#delayMs = Math.min(RECONNECT_MS_MAX, this.#delayMs * 2)
  }
}

/**
 * Closes a device that is of no use any more; that it cannot even be closed changes nothing.
 * Resolves in any case.
 */
export function closeQuietly(device: BlockDevice): Promise<void> {
  return device.close().catch(() => undefined)
}
