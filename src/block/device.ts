/**
 * The one interface of the data path. Leaves (file, memory, nbd) and filters (checked, gate,
 * mirror) both implement it, so the server does not know what is below it and a filter does not
 * know whether the next thing is a filter or the disk.
 */
import type { Request } from './request.ts'

export interface BlockDevice {
  /** What the device is and can do; never changes while it is open. */
  readonly info: DeviceInfo
  /**
   * Starts a request whose starter has pushed itself. It is completed exactly once, with 0 or a
   * positive errno, possibly before `submit` returns. Requests under way at the same time have no
   * order among themselves.
   */
  submit(request: Request): void
  /**
   * Waits for what is under way, then releases the device and everything below it. The first link
   * may be closed twice.
   */
  close(): Promise<void>
}

export interface DeviceInfo {
  /** Bytes. */
  readonly size: number
  /** Offsets and lengths are multiples of it: the logical block size, a power of two (bytes). */
  readonly blockSize: number
  readonly isReadOnly: boolean
  readonly isRotational: boolean
  /**
   * FUA on writes, trims and write zeroes. Where it is missing, `checked` follows them with a
   * flush.
   */
  readonly canFua: boolean
  readonly canFlush: boolean
  readonly canTrim: boolean
  readonly canWriteZeroes: boolean
  /**
   * Write zeroes knows FAST_ZERO: it fails with ENOTSUP at once where zeroing would be as slow as
   * writing.
   */
  readonly canFastZero: boolean
  /**
   * Block status tells holes and zeroes. Where it is missing everything counts as allocated data.
   */
  readonly canBlockStatus: boolean
  /** A flush covers the completed writes of every connection (NBD_FLAG_CAN_MULTI_CONN). */
  readonly canMultiConn: boolean
}
