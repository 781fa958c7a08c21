/**
 * TLS with pre-shared keys in the server's role (NBD proto, NBD_OPT_STARTTLS). Speaks to GnuTLS and
 * OpenSSL clients alike: TLS 1.3 with its SHA-256 suites, which an external key needs, and TLS 1.2
 * with the PSK key exchanges.
 */
import type { Socket } from 'node:net'
import * as tls from 'node:tls'

/** Key by identity. */
export type TlsKeys = ReadonlyMap<string, Uint8Array>

const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-PSK-CHACHA20-POLY1305',
  'DHE-PSK-AES128-GCM-SHA256',
  'DHE-PSK-AES256-GCM-SHA384',
  'PSK-AES128-GCM-SHA256',
  'PSK-AES256-GCM-SHA384',
].join(':')

/**
 * Runs the TLS handshake on a socket on which NBD_OPT_STARTTLS was acknowledged. Rejects when the
 * client knows no key of ours; an unknown identity and a wrong key look the same to it.
 */
export function startServerTls(socket: Socket, keys: TlsKeys): Promise<tls.TLSSocket> {
  return new Promise((resolve, reject) => {
    const secured = new tls.TLSSocket(socket, {
      isServer: true,
      ciphers: CIPHERS,
      minVersion: 'TLSv1.2',
      pskCallback: (_socket: tls.TLSSocket, identity: string) => keys.get(identity) ?? null,
    } as unknown as tls.TLSSocketOptions)
    const failed = (error?: Error) => {
      const why = error === undefined ? 'the client has gone' : 'the client has another key'
      reject(new Error(`TLS handshake failed: ${why}`, { cause: error }))
    }
    // It stays: an error that nobody hears would end the process.
    secured.on('error', failed)
    secured.once('close', () => failed())
    secured.once('secure', () => resolve(secured))
  })
}
