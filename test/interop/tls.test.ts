/**
 * TLS with GnuTLS on the other side: libnbd as our client, nbdkit as our target. Pre-shared keys,
 * and certificates, which only a target may have.
 */
import { copyFile, writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { mustRun, runTool } from '../../src/demo/command.ts'
import {
  ENGINES,
  fastFolder,
  firstDifference,
  MirrorControl,
  makeDisk,
  makeEmpty,
  startServe,
} from '../support/blkferry.ts'
import { makeCertificates } from '../support/certificates.ts'
import { startNbdkit } from '../support/peers.ts'
import { describeWith } from '../support/requires.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const SIZE = 8 * 1024 * 1024

/** A key file for alice, and one in which she has another key. */
async function makeKeys(folder: Temporary): Promise<{ right: string; wrong: string }> {
  const right = folder.file('right.psk')
  const wrong = folder.file('wrong.psk')
  await mustRun(['psktool', '--username', 'alice', '--pskfile', right])
  await writeFile(wrong, `alice:${'0f'.repeat(32)}\n`)
  return { right, wrong }
}

function secureUri(socket: string, keys: string): string {
  return `nbds+unix://alice@/?socket=${socket}&tls-psk-file=${keys}`
}

describeWith(['psktool', 'nbdcopy', 'nbdinfo'], 'libnbd with TLS', () => {
  for (const engine of ENGINES) {
    test(`copies from and to ${engine}`, async () => {
      await using folder = await temporary(await fastFolder())
      const { right } = await makeKeys(folder)
      const path = await makeDisk(folder.file('disk'), SIZE)
      const socket = folder.file('tls.nbd')
      const listen = `nbds+unix:///?socket=${socket}`
      const words = ['--tls-psk', right, '--engine', engine]
      await using _serve = await startServe(folder, 'serve', { path, listen, words })
      const uri = secureUri(socket, right)
      const copy = await makeEmpty(folder.file('copy'), SIZE)
      await mustRun(['nbdcopy', uri, copy])
      expect(await firstDifference(path, copy)).toBeUndefined()
      const other = await makeDisk(folder.file('other'), SIZE, 2)
      await mustRun(['nbdcopy', '--connections=2', other, uri])
      expect(await firstDifference(other, path)).toBeUndefined()
    })
  }

  test('no client without the key, or without TLS, learns anything', async () => {
    await using folder = await temporary(await fastFolder())
    const { right, wrong } = await makeKeys(folder)
    const path = await makeDisk(folder.file('disk'), SIZE)
    const socket = folder.file('tls.nbd')
    const listen = `nbds+unix:///?socket=${socket}`
    await using _serve = await startServe(folder, 'serve', {
      path,
      listen,
      words: ['--tls-psk', right, '--export', 'secret'],
    })
    for (const uri of [secureUri(socket, wrong), `nbd+unix:///secret?socket=${socket}`]) {
      for (const argv of [
        ['nbdinfo', uri],
        ['nbdinfo', '--list', uri],
      ]) {
        const { code, stdout } = await runTool(argv)
        expect(code).not.toBe(0)
        expect(stdout).not.toMatch(/secret|size/)
      }
    }
    await mustRun(['nbdinfo', '--size', secureUri(socket, right).replace('@/', '@/secret')])
  })
})

describeWith(['psktool', 'nbdkit'], 'nbdkit with TLS', () => {
  for (const engine of ENGINES) {
    test(`is a target of ${engine}`, async () => {
      await using folder = await temporary(await fastFolder())
      const { right } = await makeKeys(folder)
      const path = await makeDisk(folder.file('disk'), SIZE)
      const copy = await makeEmpty(folder.file('copy'), SIZE)
      const socket = folder.file('target.nbd')
      await using _target = await startNbdkit(socket, [
        '--tls=require',
        `--tls-psk=${right}`,
        'file',
        copy,
      ])
      await using _serve = await startServe(folder, 'source', { path, words: ['--engine', engine] })
      using mirror = await MirrorControl.connect(folder, 'source')
      await mirror.start(`nbds+unix://alice@/?socket=${socket}`, { tlsPskFile: right })
      await mirror.ready()
      expect((await mirror.complete({ verify: true })).outcome).toBe('completed')
      expect(await firstDifference(path, copy)).toBeUndefined()
    })
  }

  test('with another key is no target', async () => {
    await using folder = await temporary(await fastFolder())
    const { right, wrong } = await makeKeys(folder)
    const path = await makeDisk(folder.file('disk'), SIZE)
    const copy = await makeEmpty(folder.file('copy'), SIZE)
    const socket = folder.file('target.nbd')
    await using _target = await startNbdkit(socket, [
      '--tls=require',
      `--tls-psk=${right}`,
      'file',
      copy,
    ])
    await using _serve = await startServe(folder, 'source', { path })
    using mirror = await MirrorControl.connect(folder, 'source')
    const uri = `nbds+unix://alice@/?socket=${socket}`
    await expect(mirror.start(uri, { tlsPskFile: wrong })).rejects.toMatchObject({
      code: 'refused',
    })
    expect(await firstDifference(copy, await makeEmpty(folder.file('empty'), SIZE))).toBeUndefined()
  })
})

describeWith(['openssl', 'nbdkit', 'psktool'], 'nbdkit with a certificate', () => {
  async function start(folder: Temporary, name: string) {
    const path = await makeDisk(folder.file('disk'), SIZE)
    const copy = await makeEmpty(folder.file('copy'), SIZE)
    await makeCertificates(folder.path, name)
    const words = ['--tls=require', `--tls-certificates=${folder.path}`, 'file', copy]
    const target = await startNbdkit(folder.file('target.nbd'), words)
    const serve = await startServe(folder, 'source', { path })
    return { path, copy, target, serve }
  }
  const uriOf = (folder: Temporary, authority: string, name: string) =>
    `nbds+unix:///?socket=${folder.file('target.nbd')}` +
    `&tls-certificates=${authority}&tls-hostname=${name}`

  for (const name of ['host2.example', '127.0.0.1']) {
    test(`is a target if it is ${name} for an authority that we trust`, async () => {
      await using folder = await temporary(await fastFolder())
      const { path, copy, ...processes } = await start(folder, 'host2.example')
      await using _target = processes.target
      await using _serve = processes.serve
      using mirror = await MirrorControl.connect(folder, 'source')
      await mirror.start(uriOf(folder, folder.path, name))
      await mirror.ready()
      expect((await mirror.complete({ verify: true })).outcome).toBe('completed')
      expect(await firstDifference(path, copy)).toBeUndefined()
    })
  }

  test('is no target of one that expects it to prove a key', async () => {
    await using folder = await temporary(await fastFolder())
    const { target, serve } = await start(folder, 'host2.example')
    await using _target = target
    await using _serve = serve
    const { right } = await makeKeys(folder)
    using mirror = await MirrorControl.connect(folder, 'source')
    const uri = `nbds+unix://alice@/?socket=${folder.file('target.nbd')}`
    await expect(mirror.start(uri, { tlsPskFile: right })).rejects.toMatchObject({
      code: 'refused',
    })
  })

  test('is no target if our own key cannot be read without a pass phrase', async () => {
    await using folder = await temporary(await fastFolder())
    const { target, serve } = await start(folder, 'host2.example')
    await using _target = target
    await using _serve = serve
    await mustRun([
      ...['openssl', 'ec', '-in', folder.file('server-key.pem'), '-aes128', '-passout', 'pass:x'],
      ...['-out', folder.file('client-key.pem')],
    ])
    await copyFile(folder.file('server-cert.pem'), folder.file('client-cert.pem'))
    using mirror = await MirrorControl.connect(folder, 'source')
    await expect(mirror.start(uriOf(folder, folder.path, 'host2.example'))).rejects.toMatchObject({
      message: expect.stringContaining('client-key.pem cannot be used'),
    })
  })

  test('is no target under another name, or of another authority', async () => {
    await using folder = await temporary(await fastFolder())
    await using other = await temporary(await fastFolder())
    await makeCertificates(other.path, 'host2.example')
    const { target, serve } = await start(folder, 'host2.example')
    await using _target = target
    await using _serve = serve
    using mirror = await MirrorControl.connect(folder, 'source')
    for (const [authority, name, why] of [
      [folder.path, 'host3.example', 'hostname mismatch'],
      [folder.path, '127.0.0.2', 'IP address mismatch'],
      [folder.path, '::1%25lo', 'IP address mismatch'],
      [folder.path, '.example', 'is not the name of a host'],
      [folder.path, '', 'is not the name of a host'],
      [`${folder.path}/nowhere`, 'host2.example', 'ENOENT'],
      [other.path, 'host2.example', 'certificate verify failed'],
    ] as const) {
      await expect(mirror.start(uriOf(folder, authority, name))).rejects.toMatchObject({
        code: 'refused',
        message: expect.stringContaining(why),
      })
    }
  })
})
