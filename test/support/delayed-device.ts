/**
 * A filter that holds every request until the test lets it go: nothing else can decide in which
 * order things happen, so tests of races need no clock. Requests have not reached the device below
 * while they are held.
 */
import assert from 'node:assert/strict'
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import type { Request } from '../../src/block/request.ts'

export class DelayedDevice implements BlockDevice {
  readonly info: DeviceInfo
  /** Held requests, oldest first. */
  readonly held: Request[] = []
  readonly #next: BlockDevice

  constructor(next: BlockDevice) {
    this.info = next.info
    this.#next = next
  }

  submit(request: Request): void {
    this.held.push(request)
  }

  /** Lets the request at `index` reach the device below. */
  release(index = 0): void {
    this.#next.submit(this.#take(index))
  }

  /** Completes the request at `index` with an errno, the device below never seeing it. */
  fail(errno: number, index = 0): void {
    this.#take(index).complete(errno)
  }

  /** Lets everything go, oldest first, with what is submitted meanwhile. */
  releaseAll(): void {
    while (this.held.length > 0) this.release()
  }

  close(): Promise<void> {
    assert.equal(this.held.length, 0, 'delayed device: closed with requests held')
    return this.#next.close()
  }

  #take(index: number): Request {
    const [request] = this.held.splice(index, 1)
    assert(request !== undefined, 'delayed device: nothing is held there')
    return request
  }
}
