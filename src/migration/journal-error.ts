/** The one error of the journal. */

/**
 * `refused`: the step may not follow, nothing was written. `locked`: another process has the
 * journal. `corrupt`: what it holds cannot be trusted, an operator must look. `full`: no room,
 * nothing was written. `broken`: a write failed, so that only opening it anew can tell what is on
 * the disk.
 */
export type JournalErrorCode = 'refused' | 'locked' | 'corrupt' | 'full' | 'broken'

export class JournalError extends Error {
  override readonly name = 'JournalError'
  readonly code: JournalErrorCode

  constructor(code: JournalErrorCode, message: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }
}
