// The three ways an NBD session fails: the server refused (NbdError), the peer broke the protocol
// (ProtocolError), the connection is gone (ConnectionError). The classes are flat; match on the
// class, then on `code`, never on message text.

const errorNames = new Map<number, NbdErrorCode>([
  [1, 'EPERM'],
  [5, 'EIO'],
  [12, 'ENOMEM'],
  [22, 'EINVAL'],
  [28, 'ENOSPC'],
  [75, 'EOVERFLOW'],
  [95, 'ENOTSUP'],
  [108, 'ESHUTDOWN'],
  [0x80000001, 'NBD_REP_ERR_UNSUP'],
  [0x80000002, 'NBD_REP_ERR_POLICY'],
  [0x80000003, 'NBD_REP_ERR_INVALID'],
  [0x80000004, 'NBD_REP_ERR_PLATFORM'],
  [0x80000005, 'NBD_REP_ERR_TLS_REQD'],
  [0x80000006, 'NBD_REP_ERR_UNKNOWN'],
  [0x80000007, 'NBD_REP_ERR_SHUTDOWN'],
  [0x80000008, 'NBD_REP_ERR_BLOCK_SIZE_REQD'],
  [0x80000009, 'NBD_REP_ERR_TOO_BIG'],
  [0x8000000a, 'NBD_REP_ERR_EXT_HEADER_REQD'],
])

/** Names of the error values: errno names in transmission, spec names in option haggling. */
export type NbdErrorCode =
  | 'EPERM'
  | 'EIO'
  | 'ENOMEM'
  | 'EINVAL'
  | 'ENOSPC'
  | 'EOVERFLOW'
  | 'ENOTSUP'
  | 'ESHUTDOWN'
  | 'NBD_REP_ERR_UNSUP'
  | 'NBD_REP_ERR_POLICY'
  | 'NBD_REP_ERR_INVALID'
  | 'NBD_REP_ERR_PLATFORM'
  | 'NBD_REP_ERR_TLS_REQD'
  | 'NBD_REP_ERR_UNKNOWN'
  | 'NBD_REP_ERR_SHUTDOWN'
  | 'NBD_REP_ERR_BLOCK_SIZE_REQD'
  | 'NBD_REP_ERR_TOO_BIG'
  | 'NBD_REP_ERR_EXT_HEADER_REQD'

/**
 * Name of an error value. An unexpected one reads as EINVAL in transmission ("Error values") and
 * as NBD_REP_ERR_INVALID in option haggling.
 */
export function nbdErrorCode(value: number): NbdErrorCode {
  return errorNames.get(value) ?? (value >= 0x80000000 ? 'NBD_REP_ERR_INVALID' : 'EINVAL')
}

/** The server refused a request or an option, or the client refused it on the server's behalf. */
export class NbdError extends Error {
  override readonly name = 'NbdError'
  readonly code: NbdErrorCode
  /** The error value as it was on the wire. */
  readonly value: number

  constructor(message: string, value: number, options?: ErrorOptions) {
    const code = nbdErrorCode(value)
    super(`${message}: ${code}`, options)
    this.code = code
    this.value = value
  }
}

/** The peer broke the protocol. The session cannot go on, because framing may be lost. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError'
  readonly expected: string
  readonly received: string

  constructor(what: string, expected: string, received: string, options?: ErrorOptions) {
    super(`${what}: expected ${expected}, received ${received}`, options)
    this.expected = expected
    this.received = received
  }
}

/** Why there is no connection. */
export type ConnectionErrorCode = 'closed' | 'timeout' | 'connect' | 'tls' | 'queue-full'

/** The connection could not be made, closed early, or a wait on it ran out of time. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'
  readonly code: ConnectionErrorCode

  constructor(message: string, code: ConnectionErrorCode, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
