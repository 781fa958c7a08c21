/**
 * What a verb of the mirror rejects with: a code for programs, and one sentence that says what to
 * do.
 */
export class MirrorError extends Error {
  override readonly name = 'MirrorError'
  readonly code:
    | 'wrong-state'
    | 'target-refused'
    | 'target-unreachable'
    | 'mirror-failed'
    | 'mirror-cancelled'
    | 'verify-difference'
    | 'timeout'

  constructor(code: MirrorError['code'], message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }
}
