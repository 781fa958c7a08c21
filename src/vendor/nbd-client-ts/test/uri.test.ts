// NBD URIs (doc/uri.md): what they mean, what is refused, and that formatting is the inverse.

import { describe, expect, test } from 'vitest'
import { formatNbdUri, type NbdUri, parseNbdUri } from '../src/index.ts'

const accepted: readonly (readonly [string, NbdUri])[] = [
  ['nbd://example.com', { host: 'example.com', port: 10809, exportName: '', tls: false }],
  ['nbd://example.com/', { host: 'example.com', port: 10809, exportName: '', tls: false }],
  ['nbd://example.com/disk', { host: 'example.com', port: 10809, exportName: 'disk', tls: false }],
  ['NBD://h:1/d', { host: 'h', port: 1, exportName: 'd', tls: false }],
  ['nbd://example.com//d', { host: 'example.com', port: 10809, exportName: '/d', tls: false }],
  ['nbd://h/hello%20world', { host: 'h', port: 10809, exportName: 'hello world', tls: false }],
  ['nbd://[::1]:99/x', { host: '::1', port: 99, exportName: 'x', tls: false }],
  ['nbds://u%40v@h/x', { host: 'h', port: 10809, exportName: 'x', tls: true, username: 'u@v' }],
  ['nbd+unix:///d?socket=nbd.sock', { socketPath: 'nbd.sock', exportName: 'd', tls: false }],
  ['nbd+unix:///?socket=%00/abstract', { socketPath: '\0/abstract', exportName: '', tls: false }],
  [
    'nbds+unix://alice@/d?socket=/run/s&tls-psk-file=/etc/k%26.psk',
    {
      socketPath: '/run/s',
      exportName: 'd',
      tls: true,
      username: 'alice',
      tlsPskFile: '/etc/k&.psk',
    },
  ],
  [
    'nbds://h/?tls-certificates=/etc/pki&tls-hostname=disk.example&tls-verify-peer=1',
    {
      host: 'h',
      port: 10809,
      exportName: '',
      tls: true,
      tlsCertificates: '/etc/pki',
      tlsHostname: 'disk.example',
      tlsVerifyPeer: true,
    },
  ],
]

const refused: readonly (readonly [string, string])[] = [
  ['', 'not an NBD URI'],
  ['example.com', 'not an NBD URI'],
  ['http://example.com/', 'unknown scheme'],
  ['nbd+vsock://2/x', 'nbd+vsock is not supported'],
  ['nbds+ssh://h/x', 'nbds+ssh is not supported'],
  ['nbd:///x', 'needs a host'],
  ['nbd://h:0/x', 'port 0 is not'],
  ['nbd://h:65536/x', 'port 65536 is not'],
  ['nbd://h:x/', 'bad host'],
  ['nbd://::1/', 'bad host'],
  ['nbd://user:secret@h/', 'password'],
  ['nbd://h/%zz', 'bad percent-encoding'],
  ['nbd://h/a%00b', 'no NUL'],
  ['nbd://h/x#y', 'fragment'],
  ['nbd://h/?socket=/s', 'needs the scheme nbd+unix'],
  ['nbd+unix:///x', 'needs ?socket='],
  ['nbd+unix:///x?socket=', 'needs ?socket='],
  ['nbd+unix://h/x?socket=/s', 'must not have a host'],
  ['nbd://h/?tls-psk-file=/k', 'need the scheme nbds'],
  ['nbds://h/?tls-psk-file=/k&tls-certificates=/c', 'give one of'],
  ['nbds://h/?tls-verify-peer=yes', 'must be 0 or 1'],
  ['nbds://h/?tls-psk-fil=/k', 'unknown parameter'],
  ['nbds://h/?tls-hostname=a&tls-hostname=b', 'given twice'],
  [`nbd://h/${'x'.repeat(5000)}`, 'at most 4096 bytes'],
  [`nbd://h/${'x'.repeat(20000)}`, 'too long'],
]

describe('parseNbdUri', () => {
  test.each(accepted)('%s', (text, parts) => {
    expect(parseNbdUri(text)).toEqual(parts)
  })

  test.each(accepted)('formatting the parts of %s gives them back', (_text, parts) => {
    expect(parseNbdUri(formatNbdUri(parts))).toEqual(parts)
  })

  test.each(refused)('%s is refused', (text, message) => {
    expect(() => parseNbdUri(text)).toThrow(SyntaxError)
    expect(() => parseNbdUri(text)).toThrow(message)
  })
})
