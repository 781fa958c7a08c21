// NBD URIs (doc/uri.md): parsing and formatting. `vsock` and `ssh` variants are not supported and
// are refused by name. Unknown query parameters are refused, since one of them may carry security.

import { NBD_DEFAULT_PORT, NBD_MAX_STRING } from './constants.ts'
import { URI_LENGTH_MAX } from './limits.ts'

/** The parts of an NBD URI. Exactly one of `host` and `socketPath` is defined. */
export interface NbdUri {
  readonly host?: string
  /** Default 10809. Without meaning for a Unix socket. */
  readonly port?: number
  readonly socketPath?: string
  readonly exportName: string
  /** Whether TLS must be used; without it TLS is not used at all. */
  readonly tls: boolean
  /** Identity for TLS-PSK. */
  readonly username?: string
  /** File of `username:hexadecimal key` lines. */
  readonly tlsPskFile?: string
  /** Directory with ca-cert.pem and, if the server wants them, client-cert.pem, client-key.pem. */
  readonly tlsCertificates?: string
  /** Name the server's certificate must have, if it is not `host`. */
  readonly tlsHostname?: string
  readonly tlsVerifyPeer?: boolean
}

const schemes = ['nbd', 'nbds', 'nbd+unix', 'nbds+unix']

/** Parses an NBD URI. Throws SyntaxError with a sentence that says what to change. */
export function parseNbdUri(text: string, { portMin = 1 }: { portMin?: 0 | 1 } = {}): NbdUri {
  if (text.length > URI_LENGTH_MAX) throw new SyntaxError('NBD URI is too long')
  const match = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)(\/[^?#]*)?(?:\?([^#]*))?(#.*)?$/i.exec(text)
  if (!match) throw new SyntaxError(`not an NBD URI: ${shown(text)} (try nbd://host:port/export)`)
  const [, scheme = '', authority = '', path = '', query = '', fragment] = match
  const name = scheme.toLowerCase()
  if (!schemes.includes(name)) throw new SyntaxError(schemeFault(name))
  if (fragment !== undefined) throw new SyntaxError('NBD URI must not have a fragment (#)')
  const tls = name.startsWith('nbds')
  const exportName = decode(path.slice(1), 'export name')
  if (new TextEncoder().encode(exportName).length > NBD_MAX_STRING || exportName.includes('\0')) {
    throw new SyntaxError(`export name must have at most ${NBD_MAX_STRING} bytes and no NUL`)
  }
  const parameters = parseQuery(query)
  const place = name.endsWith('+unix')
    ? parseUnixPlace(authority, parameters)
    : parseTcpPlace(authority, parameters, portMin)
  return { ...place, exportName, tls, ...tlsParts(parameters, tls) }
}

/** The URI with these parts; parseNbdUri() gives them back. */
export function formatNbdUri(uri: NbdUri): string {
  const user = uri.username === undefined ? '' : `${encodeURIComponent(uri.username)}@`
  const query: string[] = []
  const add = (key: string, value: string | undefined): void => {
    if (value !== undefined) query.push(`${key}=${encodeQuery(value)}`)
  }
  add('socket', uri.socketPath)
  add('tls-psk-file', uri.tlsPskFile)
  add('tls-certificates', uri.tlsCertificates)
  add('tls-hostname', uri.tlsHostname)
  if (uri.tlsVerifyPeer !== undefined) add('tls-verify-peer', uri.tlsVerifyPeer ? '1' : '0')
  const scheme = `${uri.tls ? 'nbds' : 'nbd'}${uri.socketPath === undefined ? '' : '+unix'}`
  const host = uri.host?.includes(':') ? `[${uri.host}]` : (uri.host ?? '')
  const port = uri.socketPath !== undefined ? '' : `:${uri.port ?? NBD_DEFAULT_PORT}`
  const path = encodeURIComponent(uri.exportName).replaceAll('%2F', '/')
  return `${scheme}://${user}${host}${port}/${path}${query.length ? `?${query.join('&')}` : ''}`
}

type Place = Pick<NbdUri, 'host' | 'port' | 'socketPath' | 'username'>

function parseTcpPlace(authority: string, parameters: Map<string, string>, portMin: number): Place {
  if (parameters.has('socket')) {
    throw new SyntaxError('socket= needs the scheme nbd+unix or nbds+unix')
  }
  const match = /^(?:([^@]*)@)?(\[[0-9a-f:.%]+\]|[^:@[\]]*)(?::([0-9]*))?$/i.exec(authority)
  if (!match) throw new SyntaxError(`bad host in NBD URI: ${shown(authority)}`)
  const [, user, bracketed = '', digits = ''] = match
  const host = decode(bracketed.replace(/^\[|\]$/g, ''), 'host')
  if (host === '') throw new SyntaxError('NBD URI needs a host, as in nbd://host/export')
  const port = digits === '' ? NBD_DEFAULT_PORT : Number(digits)
  if (port < portMin || port > 65535)
    throw new SyntaxError(`port ${digits} is not in ${portMin} to 65535`)
  return { host, port, ...usernamePart(user) }
}

function parseUnixPlace(authority: string, parameters: Map<string, string>): Place {
  const socketPath = parameters.get('socket')
  if (!socketPath) {
    throw new SyntaxError('NBD URI for a Unix socket needs ?socket=/path/to/socket')
  }
  const match = /^(?:([^@]*)@)?$/.exec(authority)
  if (!match) throw new SyntaxError('NBD URI for a Unix socket must not have a host')
  return { socketPath, ...usernamePart(match[1]) }
}

function usernamePart(user: string | undefined): { username?: string } {
  if (user === undefined || user === '') return {}
  if (user.includes(':')) throw new SyntaxError('NBD URI must not contain a password')
  return { username: decode(user, 'username') }
}

function tlsParts(parameters: Map<string, string>, tls: boolean): Partial<NbdUri> {
  const pskFile = parameters.get('tls-psk-file')
  const certificates = parameters.get('tls-certificates')
  const hostname = parameters.get('tls-hostname')
  const verify = parameters.get('tls-verify-peer')
  if (!tls && [pskFile, certificates, hostname, verify].some(value => value !== undefined)) {
    throw new SyntaxError('tls-... parameters need the scheme nbds or nbds+unix')
  }
  if (verify !== undefined && verify !== '0' && verify !== '1') {
    throw new SyntaxError('tls-verify-peer must be 0 or 1')
  }
  if (pskFile !== undefined && certificates !== undefined) {
    throw new SyntaxError('give one of tls-psk-file and tls-certificates')
  }
  return {
    ...(pskFile !== undefined && { tlsPskFile: pskFile }),
    ...(certificates !== undefined && { tlsCertificates: certificates }),
    ...(hostname !== undefined && { tlsHostname: hostname }),
    ...(verify !== undefined && { tlsVerifyPeer: verify === '1' }),
  }
}

const known = ['socket', 'tls-psk-file', 'tls-certificates', 'tls-hostname', 'tls-verify-peer']

function parseQuery(query: string): Map<string, string> {
  const parameters = new Map<string, string>()
  for (const part of query.split(/[&;]/)) {
    if (part === '') continue
    const [key = '', ...rest] = part.split('=')
    const name = decode(key, 'query parameter')
    if (!known.includes(name)) throw new SyntaxError(`unknown parameter in NBD URI: ${shown(name)}`)
    if (parameters.has(name)) throw new SyntaxError(`${name} is given twice in NBD URI`)
    parameters.set(name, decode(rest.join('='), name))
  }
  return parameters
}

function schemeFault(scheme: string): string {
  if (/^nbds?\+(vsock|ssh)$/.test(scheme)) {
    return `${scheme} is not supported: use ${schemes.join(', ')}`
  }
  return `unknown scheme ${shown(scheme)}: use ${schemes.join(', ')}`
}

function decode(text: string, what: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    throw new SyntaxError(`bad percent-encoding in ${what} of NBD URI: ${shown(text)}`, { cause })
  }
}

function encodeQuery(text: string): string {
  return encodeURIComponent(text).replaceAll('%2F', '/')
}

function shown(text: string): string {
  return JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}...` : text)
}
