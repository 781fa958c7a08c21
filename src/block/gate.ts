/**
 * The filter that can hold requests back. To quiesce is to stop admission *and* to wait until
 * everything admitted has completed: whoever awaits it knows that nothing moves below. What arrives
 * meanwhile is parked, and resume admits it in the order of arrival, ahead of what arrives later.
 *
 * Invariant: a quiesced gate has nothing in flight. One thread, no locks; parked requests are
 * borrowed from their starters.
 */
import assert from 'node:assert/strict'
import type { Clock } from '../io/clock.ts'
import type { BlockDevice, DeviceInfo } from './device.ts'
import { ESHUTDOWN } from './errno.ts'
import { InFlight } from './in-flight.ts'
import type { Completion, Request } from './request.ts'
import { RequestQueue } from './request-queue.ts'

/**
 * Most requests parked. The starters' slots add up to less, so more than this is a defect and not
 * load.
 */
export const PARKED_MAX = 65536

/** Why a quiesce did not come about. */
export class QuiesceError extends Error {
  override readonly name = 'QuiesceError'
  readonly code: 'timeout' | 'resumed' | 'closed'
  /** Requests that were still in flight. */
  readonly inFlight: number

  constructor(code: QuiesceError['code'], inFlight: number) {
    super(`quiesce: ${code} with ${inFlight} requests in flight`)
    this.code = code
    this.inFlight = inFlight
  }
}

interface Quiesce {
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: QuiesceError) => void
}

/** A filter with a handle: `chain(checked, next => (gate = new Gate(next)), file)`. */
export class Gate implements BlockDevice, Completion {
  readonly info: DeviceInfo
  readonly #next: BlockDevice
  readonly #inFlight = new InFlight()
  readonly #parked = new RequestQueue(PARKED_MAX)
  /** Admission is stopped while it is set, before and after the drain. */
  #quiesce: Quiesce | undefined
  #isReadmitting = false
  #closed: Promise<void> | undefined

  constructor(next: BlockDevice) {
    this.#next = next
    this.info = next.info
  }

  /** Requests admitted and not completed. */
  get inFlight(): number {
    return this.#inFlight.count
  }

  /** Requests held back. */
  get parked(): number {
    return this.#parked.count
  }

  /** True from the call of quiesce until resume. */
  get isStopped(): boolean {
    return this.#quiesce !== undefined
  }

  submit(request: Request): void {
    if (this.#closed !== undefined) {
      request.complete(ESHUTDOWN)
    } else if (this.#quiesce !== undefined || this.#isReadmitting) {
      const hasRoom = this.#parked.push(request)
      assert(hasRoom, 'gate: more requests parked than all slots together')
    } else {
      this.#admit(request)
    }
  }

  completed(request: Request): void {
    request.complete(request.error)
    this.#inFlight.leave()
    if (this.#inFlight.count === 0) this.#quiesce?.resolve()
  }

  /**
   * Stops admission at once and resolves when nothing is in flight. Calling it again joins the
   * first call. Rejects with QuiesceError if resume or close comes before that.
   */
  quiesce(): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(new QuiesceError('closed', this.inFlight))
    if (this.#quiesce === undefined) {
      this.#quiesce = createQuiesce()
      if (this.#inFlight.count === 0) this.#quiesce.resolve()
    }
    return this.#quiesce.promise
  }

  /**
   * As quiesce, for at most `timeoutMs`. If that does not suffice it resumes, for everybody, and
   * rejects with QuiesceError `timeout`: a disk that answers late delays nobody more than that.
   */
  async quiesceWithin(clock: Clock, timeoutMs: number): Promise<void> {
    const drained = this.quiesce()
    const mine = this.#quiesce
    // Whoever awaits a drain that is over may not have run yet: that one must not be taken back.
    const timer = clock.createTimer(() => {
      if (this.#quiesce === mine && this.inFlight > 0) this.#giveUp('timeout')
    })
    timer.arm(timeoutMs)
    try {
      await drained
    } finally {
      timer.disarm()
    }
  }

  /**
   * Admits what is parked, oldest first, then whatever comes. Does nothing on a gate that is not
   * stopped.
   */
  resume(): void {
    this.#giveUp('resumed')
  }

  /**
   * Completes what is parked with ESHUTDOWN, waits for what is in flight, then closes what is
   * below.
   */
  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#closed = this.#inFlight.idle().then(() => this.#next.close())
      this.#giveUp('closed')
    }
    return this.#closed
  }

  #admit(request: Request): void {
    this.#inFlight.enter()
    request.push(this)
    this.#next.submit(request)
  }

  /** Ends the stop. The rejection means nothing to a quiesce that has resolved. */
  #giveUp(code: QuiesceError['code']): void {
    const quiesce = this.#quiesce
    this.#quiesce = undefined
    quiesce?.reject(new QuiesceError(code, this.inFlight))
    this.#emptyParked()
  }

  #emptyParked(): void {
    // A completion from inside the loop may submit, quiesce, resume or close; the outermost loop
    // does it all, in order.
    if (this.#isReadmitting) return
    this.#isReadmitting = true
    while (this.#quiesce === undefined) {
      const request = this.#parked.shift()
      if (request === undefined) break
      if (this.#closed !== undefined) request.complete(ESHUTDOWN)
      else this.#admit(request)
    }
    this.#isReadmitting = false
  }
}

function createQuiesce(): Quiesce {
  let resolve!: Quiesce['resolve']
  let reject!: Quiesce['reject']
  const promise = new Promise<void>((resolvePromise, rejectPromise) => {
    resolve = resolvePromise
    reject = rejectPromise
  })
  return { promise, resolve, reject }
}
