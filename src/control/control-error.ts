/**
 * The one error of the control layer. A handler on the serving side throws it as `refused` with a
 * remote code; it crosses the socket as code and sentence, and the caller gets the same error back.
 */

/**
 * Why an operation was refused, as both sides know it; the command line maps each to an exit code.
 */
export const REMOTE_CODES = [
  'malformed',
  'version',
  'unknown-verb',
  'busy',
  'invalid',
  'no-mirror',
  'mirror-exists',
  'wrong-state',
  'target-refused',
  'target-unreachable',
  'mirror-failed',
  'mirror-cancelled',
  'verify-difference',
  'no-session',
  'refused',
  'unreachable',
  'timeout',
  'internal',
] as const

export type RemoteCode = (typeof REMOTE_CODES)[number]

/**
 * `malformed`: bytes or fields that break the protocol. `version`: the other side speaks another
 * version. `timeout`: no answer in time. `closed`: nobody listens, or the connection ended.
 * `refused`: the other side answered with an error (then `remoteCode` says which), or a path to
 * listen on is taken.
 */
export type ControlErrorCode = 'malformed' | 'version' | 'timeout' | 'closed' | 'refused'

export class ControlError extends Error {
  override readonly name = 'ControlError'
  readonly code: ControlErrorCode
  /** Set exactly when the error is, or is to become, an error reply. */
  readonly remoteCode: RemoteCode | undefined

  constructor(
    code: ControlErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly remoteCode?: RemoteCode } = {},
  ) {
    super(message, { cause: options.cause })
    this.code = code
    this.remoteCode = options.remoteCode
  }

  /** For handlers: an answer that is an error, with a sentence for the operator. */
  static refuse(remoteCode: RemoteCode, message: string, cause?: unknown): ControlError {
    return new ControlError('refused', message, { remoteCode, cause })
  }
}
