/** What a handshake has agreed on, in the words of a block device. */
import {
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_ROTATIONAL,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
} from 'nbd-client-ts'
import type { Clock } from '../io/clock.ts'
import type { Engine } from '../io/engine.ts'
import type { StreamHandle } from '../tls/tls-socket.ts'
import type { DeviceInfo } from './device.ts'

export interface RemoteInfo {
  /** Bytes. */
  readonly size: number
  readonly transmissionFlags: number
  /** Smallest block and largest payload (bytes). */
  readonly blockSize: { readonly minimum: number; readonly maximum: number }
  readonly structuredReplies: boolean
  /** Id of base:allocation, if that was agreed. */
  readonly contextId?: number | undefined
}

/** With a connected stream socket behind its handshake, ours from now on. */
export interface RemoteOptions extends StreamHandle {
  readonly engine: Engine
  readonly info: RemoteInfo
  /**
   * Longest time without the reply to any one request, before the connection counts as lost (ms).
   */
  readonly requestTimeoutMs: number
  /** Default: the engine. */
  readonly clock?: Clock
  /**
   * Called once if the connection is lost, after the last request has completed: nothing of ours is
   * under way any more.
   */
  readonly onLost?: (reason: string) => void
}

export function deviceInfo(remote: RemoteInfo): DeviceInfo {
  const { size, transmissionFlags, blockSize, structuredReplies, contextId } = remote
  const has = (flag: number): boolean => (transmissionFlags & flag) !== 0
  const isReadOnly = has(NBD_FLAG_READ_ONLY)
  const canWriteZeroes = has(NBD_FLAG_SEND_WRITE_ZEROES) && !isReadOnly
  return {
    // A tail that is not a whole block cannot be reached (NBD proto, Size constraints).
    size: wholeBlocks(size, blockSize.minimum),
    blockSize: blockSize.minimum,
    isReadOnly,
    isRotational: has(NBD_FLAG_ROTATIONAL),
    canFua: has(NBD_FLAG_SEND_FUA),
    canFlush: has(NBD_FLAG_SEND_FLUSH),
    canTrim: has(NBD_FLAG_SEND_TRIM) && !isReadOnly,
    canWriteZeroes,
    canFastZero: has(NBD_FLAG_SEND_FAST_ZERO) && canWriteZeroes,
    canBlockStatus: structuredReplies && contextId !== undefined,
    canMultiConn: has(NBD_FLAG_CAN_MULTI_CONN),
  }
}

/** The largest multiple of the block size up to `length`. */
export function wholeBlocks(length: number, blockSize: number): number {
  return length - (length % blockSize)
}
