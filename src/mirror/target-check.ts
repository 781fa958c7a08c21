/** Whether a device can be the target of a mirror, and whether it can go on being it. */
import type { DeviceInfo } from '../block/device.ts'
import { ENOSPC, EPERM } from '../block/errno.ts'

/** A sentence that says why not and what to do; undefined if it can. */
export function targetProblem(
  source: DeviceInfo,
  target: DeviceInfo,
  granularity: number,
): string | undefined {
  if (target.isReadOnly) return 'the target is read-only: export it writable'
  if (target.size < source.size) {
    return `the target has ${target.size} bytes and the disk ${source.size}: enlarge the target`
  }
  if (target.blockSize > granularity) {
    return (
      `the target has blocks of ${target.blockSize} bytes: choose a granularity ` +
      'of at least that'
    )
  }
  if (Math.ceil(source.size / target.blockSize) * target.blockSize > target.size) {
    return `the target ends inside its last block of ${target.blockSize} bytes: enlarge the target`
  }
  return undefined
}

/** A sentence, if trying again what the target has failed with this errno is of no use. */
export function fatalProblem(error: number): string | undefined {
  if (error === ENOSPC) return 'the target is full (ENOSPC): give it more space and start anew'
  if (error === EPERM) {
    return 'the target refuses writes (EPERM): export it writable and start anew'
  }
  return undefined
}
