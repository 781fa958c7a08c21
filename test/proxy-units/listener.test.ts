/** One address: what is in the way, and what is left. */
import { once } from 'node:events'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { parseNbdUri } from 'nbd-client-ts'
import { expect, test } from 'vitest'
import { listen } from '../../src/proxy/listener.ts'
import { ServeError } from '../../src/proxy/serve-error.ts'
import { temporary } from '../support/temporary.ts'

const ignore = (): void => {}

function unixUri(path: string) {
  return parseNbdUri(`nbd+unix:///?socket=${path}`)
}

test('a socket file is the owner’s alone, and goes when the listener closes', async () => {
  await using folder = await temporary()
  const path = folder.file('socket')
  const listener = await listen(unixUri(path), ignore, ignore)
  expect(statSync(path).mode & 0o777).toBe(0o700)
  await listener.close()
  expect(existsSync(path)).toBe(false)
})

test('a close does not wait for clients, who keep their connections', async () => {
  await using folder = await temporary()
  const accepted: net.Socket[] = []
  const path = folder.file('socket')
  const listener = await listen(unixUri(path), socket => accepted.push(socket), ignore)
  const client = net.connect(path)
  await once(client, 'connect')
  while (accepted.length === 0) await new Promise(setImmediate)
  await listener.close()
  accepted[0]!.write('still here')
  const [bytes] = await once(client, 'data')
  expect(String(bytes)).toBe('still here')
  client.destroy()
  accepted[0]!.destroy()
})

test('a dead socket is replaced; a live one and a file are errors and stay', async () => {
  await using folder = await temporary()
  const path = folder.file('socket')
  const first = await listen(unixUri(path), ignore, ignore)
  await expect(listen(unixUri(path), ignore, ignore)).rejects.toThrow(/in use.*choose another path/)
  expect(existsSync(path)).toBe(true)
  await first.close()

  writeFileSync(path, 'precious')
  await expect(listen(unixUri(path), ignore, ignore)).rejects.toThrow('not a socket')
  expect(readFileSync(path, 'utf8')).toBe('precious')
})

test('port 0 becomes the port that the kernel chose', async () => {
  const listener = await listen(parseNbdUri('nbd://127.0.0.1:0', { portMin: 0 }), ignore, ignore)
  expect(listener.uri.port).toBeGreaterThan(0)
  const again = listen(listener.uri, ignore, ignore)
  await expect(again).rejects.toThrow(/EADDRINUSE.*choose another address/)
  await listener.close()
})

test('a path that no socket can have is an error, not another path', async () => {
  await using folder = await temporary()
  const long = folder.file('x'.repeat(120))
  await expect(listen(unixUri(long), ignore, ignore)).rejects.toThrow(ServeError)
  expect(existsSync(long.slice(0, 107))).toBe(false)
  const missing = folder.file('missing/socket')
  await expect(listen(unixUri(missing), ignore, ignore)).rejects.toThrow(ServeError)
  expect(process.umask()).not.toBe(0o077)
})
