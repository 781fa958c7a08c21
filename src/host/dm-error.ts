/** The one error of device-mapper calls: which operation, on which device, and the errno's name. */
import { getSystemErrorName } from 'node:util'

const REMEDIES: Readonly<Record<string, string>> = {
  ENXIO: 'there is no such device',
  EBUSY: 'it is in use; close it, or remove what stands on it',
  EEXIST: 'a device of that name exists already',
  EINVAL: 'the kernel refuses this table or state; its log says why',
  EPERM: 'permission denied; run as root',
  EACCES: 'permission denied; run as root',
  ENODEV: 'a device below it does not exist',
  ENOTTY: 'the kernel does not know this command',
}

export class DeviceMapperError extends Error {
  override readonly name = 'DeviceMapperError'
  readonly operation: string
  /** Name of the device, if the operation is about one. */
  readonly device: string | undefined
  /**
   * The errno's name; `missing`: no device-mapper in this kernel; `timeout`: the kernel has not
   * answered and may still act; `refused`: a check of ours failed and nothing was done.
   */
  readonly code: string
  /** What went wrong while undoing. */
  readonly cleanUpErrors: unknown[] = []

  constructor(
    operation: string,
    device: string | undefined,
    code: string,
    problem: string,
    cause?: unknown,
  ) {
    const about = device === undefined ? '' : ` device=${device}`
    super(`device-mapper ${operation}${about}: ${code}: ${problem}`, { cause })
    this.operation = operation
    this.device = device
    this.code = code
  }

  /** `errno` is negative, as the kernel returned it. */
  static fromErrno(
    operation: string,
    device: string | undefined,
    errno: number,
  ): DeviceMapperError {
    const code = getSystemErrorName(errno)
    return new DeviceMapperError(operation, device, code, REMEDIES[code] ?? 'the kernel refuses')
  }
}
