/**
 * The errnos of the data path (Linux numbering, positive): those that NBD can carry (NBD proto,
 * Error values).
 */
export const EPERM = 1
export const EIO = 5
export const ENOMEM = 12
export const EINVAL = 22
export const ENOSPC = 28
export const EOVERFLOW = 75
export const ENOTSUP = 95
export const ESHUTDOWN = 108

const EACCES = 13
const EFBIG = 27
const EROFS = 30
const ENOSYS = 38
const EDQUOT = 122
const ECANCELED = 125

/**
 * What a request fails with when the kernel says `errno`: the same, or the nearest that NBD has a
 * word for, or EIO.
 */
export function requestErrno(errno: number): number {
  switch (errno) {
    case EPERM:
    case ENOMEM:
    case EINVAL:
    case ENOSPC:
    case EOVERFLOW:
    case ENOTSUP:
    case ESHUTDOWN:
      return errno
    case EACCES:
    case EROFS:
      return EPERM
    case EFBIG:
    case EDQUOT:
      return ENOSPC
    case ENOSYS:
      return ENOTSUP
    case ECANCELED:
      return ESHUTDOWN
    default:
      return EIO
  }
}
