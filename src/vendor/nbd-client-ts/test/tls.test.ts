// TLS against nbdkit, which is GnuTLS: pre-shared keys and certificates, TLS 1.2 and 1.3, and
// every way in which the two ends may fail to trust each other.

import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { NbdClient, parsePskFile } from '../src/index.ts'
import { describeWith, makePskFile, ServerProcess, TemporaryDirectory } from './support/tools.ts'

describeWith(['nbdkit', 'psktool'], 'TLS with pre-shared keys', () => {
  const start = (directory: TemporaryDirectory): Promise<ServerProcess> => {
    const keys = makePskFile(directory, 'alice')
    return ServerProcess.nbdkit('--tls=require', `--tls-psk=${keys}`, 'memory', '8M')
  }

  test('a URI with user and key file is all that is needed', async () => {
    using directory = new TemporaryDirectory()
    await using server = await start(directory)
    const query = `&tls-psk-file=${directory.path}/keys.psk`
    const uri = server.uri('', query, 'nbds+unix', 'alice@')
    await using client = await NbdClient.connect(uri)
    const data = randomBytes(1024 * 1024)
    await client.write(4096, data)
    expect((await client.read(4096, data.length)).equals(data)).toBe(true)
  })

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('works over %s', async version => {
    using directory = new TemporaryDirectory()
    await using server = await start(directory)
    const pskFile = join(directory.path, 'keys.psk')
    const tls = { pskFile, username: 'alice', minVersion: version, maxVersion: version }
    await using client = await NbdClient.connect(server.uri(), { tls })
    expect(await client.read(0, 4096)).toHaveLength(4096)
  })

  test('the wrong key is a ConnectionError', async () => {
    using directory = new TemporaryDirectory()
    using other = new TemporaryDirectory()
    await using server = await start(directory)
    const tls = { pskFile: makePskFile(other, 'alice'), username: 'alice' }
    const connecting = NbdClient.connect(server.uri(), { tls })
    await expect(connecting).rejects.toMatchObject({ name: 'ConnectionError' })
  })

  test('a user without a key is told so before anything is sent', async () => {
    using directory = new TemporaryDirectory()
    await using server = await start(directory)
    const tls = { pskFile: join(directory.path, 'keys.psk'), username: 'bob' }
    const connecting = NbdClient.connect(server.uri(), { tls })
    await expect(connecting).rejects.toThrow('no TLS-PSK key for "bob"')
  })

  test('a server that requires TLS refuses a client without', async () => {
    using directory = new TemporaryDirectory()
    await using server = await start(directory)
    await expect(NbdClient.connect(server.uri())).rejects.toMatchObject({
      code: 'NBD_REP_ERR_TLS_REQD',
    })
  })

  test('a server without TLS is refused by a client that requires it', async () => {
    using directory = new TemporaryDirectory()
    await using server = await ServerProcess.nbdkit('--tls=off', 'memory', '8M')
    const tls = { pskFile: makePskFile(directory, 'alice'), username: 'alice' }
    await expect(NbdClient.connect(server.uri(), { tls })).rejects.toMatchObject({
      name: 'NbdError',
      message: expect.stringContaining('refuses TLS'),
    })
  })
})

describeWith(['nbdkit', 'openssl', 'psktool'], 'TLS with certificates', () => {
  const start = (directory: string): Promise<ServerProcess> =>
    ServerProcess.nbdkit('--tls=require', `--tls-certificates=${directory}`, 'memory', '8M')

  test('a certificate of the given authority for the right name is accepted', async () => {
    using directory = new TemporaryDirectory()
    makeCertificates(directory.path, 'localhost')
    await using server = await start(directory.path)
    const query = `&tls-certificates=${directory.path}&tls-hostname=localhost`
    await using client = await NbdClient.connect(server.uri('', query, 'nbds+unix'))
    expect(await client.read(0, 4096)).toHaveLength(4096)
  })

  test('another name, another authority or none is refused', async () => {
    using directory = new TemporaryDirectory()
    using other = new TemporaryDirectory()
    makeCertificates(directory.path, 'localhost')
    makeCertificates(other.path, 'localhost')
    await using server = await start(directory.path)
    const caFile = join(directory.path, 'ca-cert.pem')
    const attempts = [
      { caFile, hostname: 'example.com' },
      { caFile: join(other.path, 'ca-cert.pem'), hostname: 'localhost' },
      { hostname: 'localhost' },
    ]
    for (const tls of attempts) {
      const connecting = NbdClient.connect(server.uri(), { tls })
      await expect(connecting).rejects.toMatchObject({ name: 'ConnectionError', code: 'tls' })
    }
  })

  test('a server that shows a certificate instead of proving the key is refused', async () => {
    using directory = new TemporaryDirectory()
    makeCertificates(directory.path, 'localhost')
    await using server = await start(directory.path)
    const pskFile = makePskFile(directory, 'alice')
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const tls = { pskFile, username: 'alice', minVersion: version, maxVersion: version }
      const connecting = NbdClient.connect(server.uri(), { tls })
      await expect(connecting).rejects.toMatchObject({ name: 'ConnectionError', code: 'tls' })
    }
  })
})

describe('key files', () => {
  test('the line of the user is found and decoded', () => {
    const text = '# keys\nalice:00ff\nbob:0102\r\n'
    expect([...parsePskFile(text, 'bob')]).toEqual([1, 2])
  })

  test.each([
    ['carol', 'no TLS-PSK key for "carol"'],
    ['dave', 'not hexadecimal'],
  ])('%s gets a clear error', (username, message) => {
    expect(() => parsePskFile('alice:00\ndave:xyz\n', username)).toThrow(message)
  })
})

/** An authority and a server certificate in the layout of nbdkit and qemu. */
function makeCertificates(directory: string, name: string): void {
  const run = (...parameters: string[]): void => {
    execFileSync('openssl', parameters, { cwd: directory, stdio: 'pipe' })
  }
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const ca = ['-keyout', 'ca-key.pem', '-out', 'ca-cert.pem', '-subj', '/CN=authority']
  run('req', '-x509', ...key, ...ca)
  const server = ['-keyout', 'server-key.pem', '-out', 'server-cert.pem', '-subj', `/CN=${name}`]
  const names = ['-addext', `subjectAltName=DNS:${name}`, '-addext', 'basicConstraints=CA:FALSE']
  run('req', '-x509', ...key, ...server, ...names, '-CA', 'ca-cert.pem', '-CAkey', 'ca-key.pem')
}
