/**
 * A filter that fails requests on demand, before they reach the device below, like nbdkit's error
 * filter.
 */
import type { BlockDevice, DeviceInfo } from '../../src/block/device.ts'
import type { Request } from '../../src/block/request.ts'

export class FaultyDevice implements BlockDevice {
  readonly info: DeviceInfo
  readonly #next: BlockDevice
  /** The errno for a request, or 0 to pass it on. */
  fault: (request: Request) => number

  constructor(next: BlockDevice, fault: (request: Request) => number = () => 0) {
    this.info = next.info
    this.#next = next
    this.fault = fault
  }

  submit(request: Request): void {
    const error = this.fault(request)
    if (error === 0) this.#next.submit(request)
    else request.complete(error)
  }

  close(): Promise<void> {
    return this.#next.close()
  }
}
