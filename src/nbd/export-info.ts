/**
 * What the handshake tells about a device (NBD proto, Transmission flags and Size constraints).
 */
import {
  type ExportInfo,
  NBD_FLAG_CAN_MULTI_CONN,
  NBD_FLAG_HAS_FLAGS,
  NBD_FLAG_READ_ONLY,
  NBD_FLAG_ROTATIONAL,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_DF,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_META_BASE_ALLOCATION,
  PAYLOAD_MAX,
} from 'nbd-client-ts'
import type { DeviceInfo } from '../block/device.ts'

/** Below it clients lose speed; above it a request takes a larger slot (bytes). */
const PREFERRED_BLOCK_SIZE = 4096

export function exportInfo(info: DeviceInfo, description: string): ExportInfo {
  return {
    size: info.size,
    flags: transmissionFlags(info),
    blockSize: {
      minimum: info.blockSize,
      preferred: Math.max(info.blockSize, PREFERRED_BLOCK_SIZE),
      maximum: PAYLOAD_MAX,
    },
    description,
    contexts: info.canBlockStatus ? [NBD_META_BASE_ALLOCATION] : [],
  }
}

function transmissionFlags(info: DeviceInfo): number {
  const isWritable = !info.isReadOnly
  return (
    NBD_FLAG_HAS_FLAGS |
    NBD_FLAG_SEND_DF |
    NBD_FLAG_SEND_CACHE |
    (info.isReadOnly ? NBD_FLAG_READ_ONLY : 0) |
    (info.isRotational ? NBD_FLAG_ROTATIONAL : 0) |
    (info.canFlush ? NBD_FLAG_SEND_FLUSH : 0) |
    (info.canFua && isWritable ? NBD_FLAG_SEND_FUA : 0) |
    (info.canTrim && isWritable ? NBD_FLAG_SEND_TRIM : 0) |
    (info.canWriteZeroes && isWritable ? NBD_FLAG_SEND_WRITE_ZEROES : 0) |
    (info.canFastZero && isWritable ? NBD_FLAG_SEND_FAST_ZERO : 0) |
    (info.canMultiConn ? NBD_FLAG_CAN_MULTI_CONN : 0)
  )
}
