/**
 * What a TLS connection begins with, in either role: versions, ciphers, and how the two ends prove
 * who they are. Peers are often GnuTLS (nbdkit, qemu, libnbd); an external key works with both
 * libraries in TLS 1.3 only under a SHA-256 suite, hence the names.
 */
import { existsSync } from 'node:fs'
import { isIP } from 'node:net'
import { addressOf } from '../io/libc.ts'
import {
  ERR_clear_error,
  type PskClient,
  type PskServer,
  pskClient,
  pskServer,
  putBytes,
  SSL_CTRL_CLEAR_MODE,
  SSL_CTRL_SET_DH_AUTO,
  SSL_CTRL_SET_MIN_PROTO_VERSION,
  SSL_CTRL_SET_TLSEXT_HOSTNAME,
  SSL_CTX_ctrl,
  SSL_CTX_free,
  SSL_CTX_load_verify_file,
  SSL_CTX_new,
  SSL_CTX_set_cipher_list,
  SSL_CTX_set_ciphersuites,
  SSL_CTX_set_default_passwd_cb_userdata,
  SSL_CTX_set_num_tickets,
  SSL_CTX_set_options,
  SSL_CTX_set_psk_client_callback,
  SSL_CTX_set_psk_server_callback,
  SSL_CTX_set_verify,
  SSL_CTX_use_certificate_chain_file,
  SSL_CTX_use_PrivateKey_file,
  SSL_ctrl,
  SSL_FILETYPE_PEM,
  SSL_free,
  SSL_get0_param,
  SSL_MODE_AUTO_RETRY,
  SSL_new,
  SSL_OP_NO_COMPRESSION,
  SSL_OP_NO_RENEGOTIATION,
  SSL_OP_NO_TICKET,
  SSL_set_accept_state,
  SSL_set_connect_state,
  SSL_set1_host,
  SSL_VERIFY_NONE,
  SSL_VERIFY_PEER,
  TLS_method,
  TLS1_2_VERSION,
  X509_VERIFY_PARAM_set1_ip_asc,
} from './openssl.ts'
import { TlsError, takeTlsError } from './tls-error.ts'

/** Pre-shared key by identity. */
export type TlsKeys = ReadonlyMap<string, Uint8Array>

/** Who we are as a client: the holder of a key. */
export interface PskIdentity {
  readonly identity: string
  readonly key: Uint8Array
}

/** Whom we trust as a client, and who we are: certificates (PEM files). */
export interface Certificates {
  /** The authorities that may have signed the server's certificate; default: the system's. */
  readonly caFile?: string | undefined
  readonly certificateFile?: string | undefined
  readonly keyFile?: string | undefined
  /** Name or address that the server's certificate must have. */
  readonly hostname?: string | undefined
  /** False accepts any certificate. */
  readonly verifyPeer?: boolean | undefined
}

/** Where systems keep the authorities that they trust: Debian, Fedora, SUSE, others. */
const SYSTEM_CA_FILES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
]
/** For keys that are encrypted: OpenSSL would ask for a pass phrase at the terminal, and wait. */
const NO_PASS_PHRASE = Buffer.allocUnsafeSlow(1).fill(0)

const PSK_SUITES = 'TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256'
const PSK_CIPHERS = [
  'ECDHE-PSK-CHACHA20-POLY1305',
  'DHE-PSK-AES128-GCM-SHA256',
  'DHE-PSK-AES256-GCM-SHA384',
  'PSK-AES128-GCM-SHA256',
  'PSK-AES256-GCM-SHA384',
  // No group below 2048 bits.
  '@SECLEVEL=2',
].join(':')

/** What the callbacks of the handshake under way answer with: OpenSSL calls them inside of it. */
export interface Secrets {
  readonly keys?: TlsKeys | undefined
  readonly psk?: PskIdentity | undefined
}
let secretsNow: Secrets = {}

/** Runs a step of a handshake, with what it may be asked for. */
export function withSecrets<T>(secrets: Secrets, step: () => T): T {
  secretsNow = secrets
  try {
    return step()
  } finally {
    secretsNow = {}
  }
}

const giveIdentity: PskClient = (_ssl, _hint, identityAt, identityMax, keyAt, keyMax) => {
  const { psk } = secretsNow
  const identity = Buffer.from(`${psk?.identity}\0`)
  if (psk === undefined || identity.length > identityMax || psk.key.length > keyMax) return 0
  putBytes(identityAt, identity)
  putBytes(keyAt, psk.key)
  return psk.key.length
}

const giveKey: PskServer = (_ssl, identity, keyAt, keyMax) => {
  const key = identity === null ? undefined : secretsNow.keys?.get(identity)
  if (key === undefined || key.length > keyMax) return 0
  putBytes(keyAt, key)
  return key.length
}

/** Made on the first use, and kept: there are only so many. */
let clientCallback: bigint | undefined
let serverCallback: bigint | undefined

/** A connection in the server's role that takes clients with a pre-shared key, and no others. */
export function newServerSsl(): number {
  return newSsl(context => {
    onlyPsk(context)
    serverCallback ??= pskServer(giveKey)
    SSL_CTX_set_psk_server_callback(context, serverCallback)
    return SSL_set_accept_state
  })
}

/**
 * A connection in the client's role. With a key no certificate is accepted: no authority is
 * trusted, and a server that shows one has not proved that it knows the key. Throws `TlsError` if a
 * file cannot be used.
 */
export function newClientSsl(identity: PskIdentity | Certificates): number {
  return newSsl(context => {
    if ('key' in identity) {
      onlyPsk(context)
      SSL_CTX_set_verify(context, SSL_VERIFY_PEER, null)
      clientCallback ??= pskClient(giveIdentity)
      SSL_CTX_set_psk_client_callback(context, clientCallback)
      return SSL_set_connect_state
    }
    useCertificates(context, identity)
    return ssl => {
      expectName(ssl, identity)
      SSL_set_connect_state(ssl)
    }
  })
}

/** `prepare` fills the context and says what is to be done to a connection of it. */
function newSsl(prepare: (context: number) => (ssl: number) => void): number {
  ERR_clear_error()
  const context = made(SSL_CTX_new(TLS_method()))
  try {
    SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, TLS1_2_VERSION, null)
    const options = SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION
    SSL_CTX_set_options(context, options)
    // A session is never resumed, and whatever a server says of its own accord is in the way.
    SSL_CTX_set_num_tickets(context, 0)
    const configure = prepare(context)
    const ssl = made(SSL_new(context))
    try {
      configure(ssl)
    } catch (error) {
      SSL_free(ssl)
      throw error
    }
    // One record that carries no data at a time: they cost the reader, and nothing limits them.
    SSL_ctrl(ssl, SSL_CTRL_CLEAR_MODE, SSL_MODE_AUTO_RETRY, null)
    return ssl
  } finally {
    // A connection keeps its context.
    SSL_CTX_free(context)
  }
}

function onlyPsk(context: number): void {
  if (SSL_CTX_set_ciphersuites(context, PSK_SUITES) !== 1) throw takeTlsError()
  if (SSL_CTX_set_cipher_list(context, PSK_CIPHERS) !== 1) throw takeTlsError()
  SSL_CTX_ctrl(context, SSL_CTRL_SET_DH_AUTO, 1, null)
}

function useCertificates(context: number, identity: Certificates): void {
  const { certificateFile, keyFile, verifyPeer = true } = identity
  const use = (path: string, isUsed: number): void => {
    if (isUsed !== 1) throw new TlsError(`${path} cannot be used: ${takeTlsError().message}`)
  }
  SSL_CTX_set_verify(context, verifyPeer ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, null)
  if (verifyPeer) {
    const path = identity.caFile ?? SYSTEM_CA_FILES.find(file => existsSync(file))
    if (path === undefined) {
      throw new TlsError('no file of authorities is known: give tls-certificates')
    }
    use(path, SSL_CTX_load_verify_file(context, path))
  }
  if (certificateFile !== undefined) {
    use(certificateFile, SSL_CTX_use_certificate_chain_file(context, certificateFile))
  }
  if (keyFile !== undefined) {
    SSL_CTX_set_default_passwd_cb_userdata(context, addressOf(NO_PASS_PHRASE))
    use(keyFile, SSL_CTX_use_PrivateKey_file(context, keyFile, SSL_FILETYPE_PEM))
  }
}

/**
 * An address is not a name: it is neither sent to the server (SNI) nor compared as one. Every name
 * that is not looked for must be an error, since then any certificate would do.
 */
function expectName(ssl: number, { hostname, verifyPeer = true }: Certificates): void {
  if (hostname === undefined) {
    if (verifyPeer) throw new TlsError('no name to look for in the certificate: give tls-hostname')
    return
  }
  // A certificate has no zone.
  const address = hostname.replace(/%.*$/, '')
  if (isIP(address) !== 0) {
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), address) !== 1) throw takeTlsError()
    return
  }
  if (!/^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?$/i.test(hostname)) {
    throw new TlsError(
      `${JSON.stringify(hostname)} is not the name of a host: correct tls-hostname`,
    )
  }
  if (SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, hostname) !== 1) throw takeTlsError()
  if (SSL_set1_host(ssl, hostname) !== 1) throw takeTlsError()
}

function made(object: number): number {
  if (object === 0) throw takeTlsError()
  return object
}
