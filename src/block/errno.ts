/**
 * The errnos of the data path (Linux numbering, positive), which are those that NBD can carry (NBD proto, Error values).
 */
export const EPERM = 1
export const EIO = 5
export const ENOMEM = 12
export const EINVAL = 22
export const ENOSPC = 28
export const EOVERFLOW = 75
export const ENOTSUP = 95
export const ESHUTDOWN = 108
