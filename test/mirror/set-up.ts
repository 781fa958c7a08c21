/**
 * A mirror over devices in memory, on a clock that the test moves: the parts are the real ones, and
 * the target may be made to hang, to fail, or to go away.
 */
import type { BlockDevice } from '../../src/block/device.ts'
import { ESHUTDOWN } from '../../src/block/errno.ts'
import { Gate } from '../../src/block/gate.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import type { Request } from '../../src/block/request.ts'
import { bitmapFileBytes, createBitmapFile } from '../../src/mirror/bitmap-file.ts'
import { MirrorJob } from '../../src/mirror/job.ts'
import { MirrorFilter } from '../../src/mirror/mirror-filter.ts'
import { heapMemory } from '../support/requests.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

export const GRANULARITY = 4096

/** A target that hangs or fails on demand. */
export class MoodyDevice implements BlockDevice {
  readonly next: MemoryDevice
  readonly info
  isHung = false
  error = 0
  /** What it was asked to do, by command. */
  readonly seen: { command: number; offset: number; length: number }[] = []
  #held: Request[] = []

  constructor(next: MemoryDevice) {
    this.next = next
    this.info = next.info
  }

  submit(request: Request): void {
    this.seen.push({ command: request.command, offset: request.offset, length: request.length })
    if (this.isHung) this.#held.push(request)
    else if (this.error !== 0) request.complete(this.error)
    else this.next.submit(request)
  }

  unhang(): void {
    this.isHung = false
    for (const request of this.#held.splice(0)) this.next.submit(request)
  }

  async close(): Promise<void> {
    for (const request of this.#held.splice(0)) request.complete(ESHUTDOWN)
  }
}

interface Choices {
  readonly size?: number
  readonly copyMode?: 'auto' | 'background' | 'write-blocking'
  readonly stallMs?: number
}

export function setUp({ size = 64 * GRANULARITY, copyMode = 'auto', stallMs = 100 }: Choices = {}) {
  const clock = new VirtualClock()
  const source = new MemoryDevice(size)
  source.bytes.fill(7)
  const target = new MoodyDevice(new MemoryDevice(size))
  const filter = new MirrorFilter(source, clock)
  const gate = new Gate(filter)
  const identity = { disk: 'disk', target: 'target', size, granularity: GRANULARITY }
  const tracking = createBitmapFile(new Uint8Array(bitmapFileBytes(size, GRANULARITY)), identity)
  const job = new MirrorJob({
    filter,
    gate,
    clock,
    tracking,
    connectTarget: async () => target,
    memory: [heapMemory(4 * GRANULARITY), heapMemory(4 * GRANULARITY)],
    copyMode,
    bandwidth: 0,
    stallMs,
    reconnectSeconds: 0,
  })
  return { clock, source, target, filter, gate, tracking, job }
}

/** Moves the clock on in small steps, promises running in between. */
export async function pass(clock: VirtualClock, ms: number): Promise<void> {
  for (let at = 0; at < ms; at += 5) {
    clock.advance(5)
    for (let i = 0; i < 8; i++) await undefined
  }
}
