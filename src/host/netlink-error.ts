/**
 * The one error of netlink calls: what was asked, the errno's name, and the kernel's own sentence.
 */
import { getSystemErrorName } from 'node:util'

export class NetlinkError extends Error {
  override readonly name = 'NetlinkError'
  readonly operation: string
  /**
   * The errno's name; `missing`: the kernel has no such family; `timeout`: no answer, and the
   * kernel may still act; `lost`: notices were lost, look anew; `malformed`; `closed`.
   */
  readonly code: string

  constructor(operation: string, code: string, problem: string, cause?: unknown) {
    super(`netlink ${operation}: ${code}: ${problem}`, { cause })
    this.operation = operation
    this.code = code
  }

  /** `errno` is positive. */
  static fromErrno(operation: string, errno: number, sentence?: string): NetlinkError {
    const code = getSystemErrorName(-errno)
    return new NetlinkError(operation, code, sentence ?? 'the kernel refuses')
  }
}
