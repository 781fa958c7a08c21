/**
 * The leaf that keeps its bytes in memory: for tests and demonstrations. Requests complete before
 * `submit` returns. A page of zeroes counts as a hole, so that sparse contents are known without
 * being tracked.
 */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
} from 'nbd-client-ts'
import { PAGE_SIZE } from '../io/memory.ts'
import type { BlockDevice, DeviceInfo } from './device.ts'
import { ENOTSUP } from './errno.ts'
import type { Request } from './request.ts'

const ZERO_PAGE = new Uint8Array(PAGE_SIZE)

export class MemoryDevice implements BlockDevice {
  readonly info: DeviceInfo
  /** The contents; a test may look at them and change them. */
  readonly bytes: Uint8Array
  readonly #buffer: Buffer

  /**
   * `contents`: a size in bytes, or the memory to use as it is. `info` overrides what the device
   * says of itself.
   */
  constructor(contents: number | Uint8Array, info: Partial<DeviceInfo> = {}) {
    this.bytes = typeof contents === 'number' ? new Uint8Array(contents) : contents
    this.#buffer = Buffer.from(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length)
    this.info = {
      blockSize: 1,
      isReadOnly: false,
      isRotational: false,
      canFua: true,
      canFlush: true,
      canTrim: true,
      canWriteZeroes: true,
      canFastZero: true,
      canBlockStatus: true,
      canMultiConn: true,
      ...info,
      size: this.bytes.length,
    }
  }

  submit(request: Request): void {
    request.complete(this.#perform(request))
  }

  async close(): Promise<void> {}

  #perform(request: Request): number {
    const { command, offset, length, memory, memoryOffset } = request
    switch (command) {
      case NBD_CMD_READ:
        this.#buffer.copy(memory!.bytes, memoryOffset, offset, offset + length)
        return 0
      case NBD_CMD_WRITE:
        this.bytes.set(memory!.bytes.subarray(memoryOffset, memoryOffset + length), offset)
        return 0
      case NBD_CMD_TRIM:
      case NBD_CMD_WRITE_ZEROES:
        this.bytes.fill(0, offset, offset + length)
        return 0
      case NBD_CMD_FLUSH:
        return 0
      case NBD_CMD_BLOCK_STATUS:
        this.#reportExtents(request)
        return 0
      default:
        return ENOTSUP
    }
  }

  #reportExtents(request: Request): void {
    const { flags, offset, length } = request
    const extents = request.extents!
    extents.clear()
    const end = offset + length
    for (let at = offset; at < end; ) {
      const next = Math.min(end, at - (at % PAGE_SIZE) + PAGE_SIZE)
      const state = this.#isZero(at, next) ? NBD_STATE_HOLE | NBD_STATE_ZERO : 0
      const isFirst = extents.count === 0 || extents.flags(0) === state
      if ((flags & NBD_CMD_FLAG_REQ_ONE) !== 0 && !isFirst) return
      if (!extents.add(next - at, state)) return
      at = next
    }
  }

  #isZero(from: number, to: number): boolean {
    return this.#buffer.compare(ZERO_PAGE, 0, to - from, from, to) === 0
  }
}
