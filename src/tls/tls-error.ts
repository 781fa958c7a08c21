/** What goes wrong with TLS, as the end of a sentence: OpenSSL's words, without its codes. */
import {
  ERR_clear_error,
  ERR_peek_error,
  ERR_reason_error_string,
  SSL_get_verify_result,
  X509_verify_cert_error_string,
} from './openssl.ts'

export class TlsError extends Error {
  override readonly name = 'TlsError'
}

const X509_V_OK = 0

/** The error that OpenSSL has noted last in this thread, which forgets it. */
export function takeTlsError(ssl?: number): TlsError {
  const reason = ERR_reason_error_string(ERR_peek_error()) ?? 'the peer broke the protocol'
  ERR_clear_error()
  const verified = ssl === undefined ? X509_V_OK : SSL_get_verify_result(ssl)
  const why = verified === X509_V_OK ? '' : `: ${X509_verify_cert_error_string(verified)}`
  return new TlsError(`${reason}${why}`)
}
