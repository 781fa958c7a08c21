/**
 * Requests as a filter or a server starts them, awaited: for tests that look closer than the facade
 * lets them.
 */
import type { BlockDevice } from '../../src/block/device.ts'
import { type Completion, Request } from '../../src/block/request.ts'
import type { Memory } from '../../src/io/memory.ts'

/** Memory without an address, filled with `value`. */
export function heapMemory(length: number, value = 0): Memory {
  return { bytes: new Uint8Array(length).fill(value), address: 0 }
}

export function createRequest(fields: Partial<Request>): Request {
  return Object.assign(new Request(), fields)
}

/** Submits; resolves with the errno, or 0. Throws if the request comes back more than once. */
export function perform(device: BlockDevice, request: Request): Promise<number> {
  return new Promise(resolve => {
    let count = 0
    const completion: Completion = {
      completed: ({ error }) => {
        count++
        if (count > 1) throw new Error('completed twice')
        resolve(error)
      },
    }
    request.push(completion)
    device.submit(request)
  })
}

/** Submits and records the outcome where a test can look at it without awaiting. */
export function start(device: BlockDevice, request: Request): { outcome: number | undefined } {
  const watched: { outcome: number | undefined } = { outcome: undefined }
  request.push({
    completed: ({ error }) => {
      watched.outcome = error
    },
  })
  device.submit(request)
  return watched
}
