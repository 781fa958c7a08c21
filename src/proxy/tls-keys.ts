/**
 * The file of pre-shared keys that psktool(1) makes, as nbdkit and qemu-nbd read it:
 * `identity:hexadecimal key` lines.
 */
import { readFileSync } from 'node:fs'
import type { TlsKeys } from '../tls/tls-context.ts'
import { ServeError } from './serve-error.ts'

/** Shorter keys can be guessed (bytes). */
const KEY_BYTES_MIN = 16

/** Reads all keys; throws `ServeError` naming the line that is wrong, never the key. */
export function readTlsKeys(path: string): TlsKeys {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new ServeError(`cannot read the TLS key file ${path}: ${(error as Error).message}`, error)
  }
  const keys = new Map<string, Uint8Array>()
  text.split('\n').forEach((line, index) => {
    if (line === '' || line.startsWith('#')) return
    const match = /^([^:]+):((?:[0-9a-f]{2})+)\s*$/i.exec(line)
    const key = Buffer.from(match?.[2] ?? '', 'hex')
    if (match === null || key.length < KEY_BYTES_MIN) {
      const form = `identity:key with at least ${KEY_BYTES_MIN} bytes in hexadecimal`
      throw new ServeError(`${path} line ${index + 1} is not ${form}: make the file with psktool`)
    }
    keys.set(match[1]!, key)
  })
  if (keys.size === 0) throw new ServeError(`${path} has no key: make one with psktool`)
  return keys
}
