/** What goes wrong with TLS, as the end of a sentence: OpenSSL's words, without its codes. */
import { getSystemErrorName } from 'node:util'
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
/** Of an error of the system; the rest is the errno. */
const ERR_SYSTEM_FLAG = 2 ** 31

/** The first error that OpenSSL has noted in this thread; it forgets them all. */
export function takeTlsError(ssl?: number): TlsError {
  const reason = reasonOf(ERR_peek_error())
  ERR_clear_error()
  const verified = ssl === undefined ? X509_V_OK : SSL_get_verify_result(ssl)
  const why = verified === X509_V_OK ? '' : `: ${X509_verify_cert_error_string(verified)}`
  return new TlsError(`${reason}${why}`)
}

function reasonOf(code: number): string {
  if (code === 0) return 'the peer broke the protocol'
  if (code > ERR_SYSTEM_FLAG) return getSystemErrorName(ERR_SYSTEM_FLAG - code)
  return ERR_reason_error_string(code) ?? `error ${code}`
}
