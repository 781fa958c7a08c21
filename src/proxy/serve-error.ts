/**
 * Why a proxy does not serve: the disk, an address or a key file cannot be used. The message is one
 * sentence for the operator and says what to do.
 */
export class ServeError extends Error {
  override readonly name = 'ServeError'

  constructor(message: string, cause?: unknown) {
    super(message, { cause })
  }
}
