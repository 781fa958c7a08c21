// TLS for the client, on node:tls: pre-shared keys or X.509, TLS 1.2 and 1.3. Peers are often
// GnuTLS (nbdkit, qemu); an external key works with both libraries in TLS 1.3 only under a SHA-256
// suite, hence the cipher list. With a pre-shared key no certificate is accepted at all: a server
// that shows one has not proved that it knows the key.

import { readFile, stat } from 'node:fs/promises'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import type { ConnectionOptions, SecureVersion } from 'node:tls'
import { PSK_FILE_SIZE_MAX } from './limits.ts'

/** How to authenticate. Without pskFile it is X.509, by default with the system's authorities. */
export interface NbdTlsOptions {
  /** File of `username:hexadecimal key` lines, as psktool(1) writes it. */
  readonly pskFile?: string
  /** Identity to look for in pskFile; default: the name of the user who runs the process. */
  readonly username?: string
  /** PEM file of the certificate authorities that may have signed the server's certificate. */
  readonly caFile?: string
  /** PEM files of our own certificate and key, if the server wants one. */
  readonly certificateFile?: string
  readonly keyFile?: string
  /** Name the server's certificate must have; default: the host connected to. */
  readonly hostname?: string
  /** False accepts any certificate, and so any man in the middle. Default true. */
  readonly verifyPeer?: boolean
  readonly minVersion?: SecureVersion
  readonly maxVersion?: SecureVersion
}

const PSK_CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-PSK-CHACHA20-POLY1305',
  'DHE-PSK-AES256-GCM-SHA384',
  'DHE-PSK-AES128-GCM-SHA256',
  'PSK-AES256-GCM-SHA384',
  'PSK-AES128-GCM-SHA256',
].join(':')

/** Options for tls.connect(). Rejects with a sentence if a file cannot be used. */
export async function tlsConnectOptions(
  options: NbdTlsOptions,
  host: string | undefined,
): Promise<ConnectionOptions> {
  const versions = {
    minVersion: options.minVersion ?? 'TLSv1.2',
    ...(options.maxVersion !== undefined && { maxVersion: options.maxVersion }),
  } as const
  const specific =
    options.pskFile !== undefined
      ? await pskOptions(options.pskFile, options.username)
      : await certificateOptions(options, host)
  return { ...specific, ...versions }
}

/** NbdTlsOptions for a directory laid out as libnbd and qemu expect it. */
export async function certificateDirectory(directory: string): Promise<NbdTlsOptions> {
  const certificateFile = join(directory, 'client-cert.pem')
  const caFile = join(directory, 'ca-cert.pem')
  const hasCertificate = await stat(certificateFile).then(
    () => true,
    () => false,
  )
  if (!hasCertificate) return { caFile }
  return { caFile, certificateFile, keyFile: join(directory, 'client-key.pem') }
}

/** The key of `username` in the text of a key file. Throws SyntaxError. */
export function parsePskFile(text: string, username: string): Buffer {
  for (const line of text.split(/\r?\n/)) {
    const colon = line.lastIndexOf(':')
    if (line.startsWith('#') || colon < 0 || line.slice(0, colon) !== username) continue
    const digits = line.slice(colon + 1).trim()
    if (!/^([0-9a-f]{2})+$/i.test(digits)) {
      throw new SyntaxError(`the TLS-PSK key of "${username}" is not hexadecimal`)
    }
    return Buffer.from(digits, 'hex')
  }
  throw new SyntaxError(`there is no TLS-PSK key for "${username}": add a line username:key`)
}

/** The key of `username`, by default the user who runs the process. Rejects with a sentence. */
export async function readPsk(
  pskFile: string,
  username: string = userInfo().username,
): Promise<{ readonly identity: string; readonly key: Uint8Array }> {
  const { size } = await stat(pskFile)
  if (size > PSK_FILE_SIZE_MAX) throw new RangeError(`TLS-PSK file is too large: ${pskFile}`)
  return { identity: username, key: parsePskFile(await readFile(pskFile, 'utf8'), username) }
}

async function pskOptions(pskFile: string, username?: string): Promise<ConnectionOptions> {
  const { identity, key } = await readPsk(pskFile, username)
  return {
    ciphers: PSK_CIPHERS,
    pskCallback: () => ({ identity, psk: key }),
    // No authority is trusted, and in TLS 1.2 the certificate asked about must be an empty one.
    ca: [],
    checkServerIdentity: (_host, certificate) =>
      Object.keys(certificate ?? {}).length === 0
        ? undefined
        : new Error('server shows a certificate instead of proving the pre-shared key'),
  }
}

async function certificateOptions(
  options: NbdTlsOptions,
  host: string | undefined,
): Promise<ConnectionOptions> {
  const { caFile, certificateFile, keyFile } = options
  const hostname = options.hostname ?? host
  return {
    rejectUnauthorized: options.verifyPeer ?? true,
    ...(caFile !== undefined && { ca: await readFile(caFile) }),
    ...(certificateFile !== undefined && { cert: await readFile(certificateFile) }),
    ...(keyFile !== undefined && { key: await readFile(keyFile) }),
    ...serverName(hostname),
  }
}

/** SNI must not be an address; verification uses `host` then. */
function serverName(hostname: string | undefined): ConnectionOptions {
  if (hostname === undefined) return {}
  const isAddress = hostname.includes(':') || /^[0-9.]+$/.test(hostname)
  return isAddress ? { host: hostname } : { host: hostname, servername: hostname }
}
