/**
 * What an operator can get wrong: one sentence that says what to do, the documented exit code, and
 * nothing is written anywhere.
 */
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../src/cli/exit-codes.ts'
import {
  blkferry,
  fastFolder,
  MirrorControl,
  makeDisk,
  makeEmpty,
  socketUri,
  startServe,
} from '../support/blkferry.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const SIZE = 4 * 1024 * 1024

/** The command fails with `code` and one sentence that matches. */
async function refuses(words: readonly string[], code: number, sentence: RegExp): Promise<void> {
  const { code: exitCode, stderr } = await blkferry(...words)
  const complaint = stderr.split('\n').filter(line => line !== '' && !line.startsWith('{'))
  expect(complaint.join('\n')).toMatch(sentence)
  expect(complaint).toHaveLength(1)
  expect(exitCode).toBe(code)
}

describe('serve', () => {
  test('refuses what it does not know or cannot read', async () => {
    await refuses(['serve', 'x', '--lisen', 'nbd://h'], EXIT.usage, /--listen/)
    await refuses(['serve', 'x', '--listen', 'http://h/'], EXIT.usage, /nbd/)
    await refuses(['serve', 'x'], EXIT.usage, /--listen/)
  })

  test('refuses a disk that is missing, a directory, empty or in use', async () => {
    await using folder = await temporary(await fastFolder())
    const listen = ['--listen', socketUri(folder.file('s'))]
    const missing = ['serve', folder.file('none'), ...listen]
    await refuses(missing, EXIT.disk, /does not exist|no such/i)
    await refuses(['serve', folder.path, ...listen], EXIT.disk, /directory/)
    const path = await makeDisk(folder.file('disk'), SIZE)
    await using first = await startServe(folder, 'first', { path })
    expect(first.pid).toBeGreaterThan(0)
    await refuses(['serve', path, ...listen], EXIT.disk, /in use/)
    expect(existsSync(folder.file('s'))).toBe(false)
  })

  test('refuses a key file without keys, and nbds without a key file', async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    const listen = ['--listen', `nbds+unix:///?socket=${folder.file('s')}`]
    await refuses(['serve', path, ...listen], EXIT.usage, /--tls-psk/)
    await writeFile(folder.file('keys'), 'nobody\n')
    const words = ['serve', path, ...listen, '--tls-psk', folder.file('keys')]
    await refuses(words, EXIT.disk, /psktool/)
  })

  test('refuses the bitmap of another disk, of another size, and a damaged one', async () => {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    const bitmap = await leaveBitmap(folder, path)
    const kept = await readFile(bitmap)
    const other = await makeDisk(folder.file('other'), SIZE)
    const serve = (disk: string) => [
      'serve',
      disk,
      '--listen',
      socketUri(folder.file('s')),
      '--bitmap',
      bitmap,
    ]
    await refuses(serve(other), EXIT.disk, /another|is about disk/)
    expect(kept.equals(await readFile(bitmap))).toBe(true)
    await makeEmpty(path, SIZE * 2)
    await refuses(serve(path), EXIT.disk, /size/)
    expect(kept.equals(await readFile(bitmap))).toBe(true)
    kept[24] = (kept[24] ?? 0) ^ 1
    await writeFile(bitmap, kept)
    await refuses(serve(path), EXIT.disk, /damaged/)
  })
})

/** What a proxy leaves that is killed in the middle of a copy. */
async function leaveBitmap(folder: Temporary, path: string): Promise<string> {
  const bitmap = folder.file('bitmap')
  const copy = await makeEmpty(folder.file('copy'), SIZE)
  await using target = await startServe(folder, 'target', { path: copy })
  const words = ['--bitmap', bitmap]
  const source = await startServe(folder, 'source', { path, words })
  using mirror = await MirrorControl.connect(folder, 'source')
  await mirror.start(target.uri, { bandwidth: 65_536 })
  source.kill('SIGKILL')
  await source.ended
  return bitmap
}

describe('mirror start', () => {
  async function starting(
    targetSize: number,
    targetWords: readonly string[],
    check: (start: readonly string[], folder: Temporary) => Promise<void>,
  ): Promise<void> {
    await using folder = await temporary(await fastFolder())
    const path = await makeDisk(folder.file('disk'), SIZE)
    const copy = await makeEmpty(folder.file('copy'), targetSize)
    await using target = await startServe(folder, 'target', { path: copy, words: targetWords })
    await using source = await startServe(folder, 'source', { path })
    expect(source.uri).not.toBe(target.uri)
    const control = ['--control', folder.file('source.control')]
    await check(['mirror', 'start', ...control, '--target'], folder)
    expect((await readFile(copy)).every(byte => byte === 0)).toBe(true)
  }

  test('refuses a target that is smaller', async () => {
    await starting(SIZE - 4096, [], async (start, folder) => {
      const uri = socketUri(folder.file('target.nbd'))
      await refuses([...start, uri], EXIT.target, /enlarge/)
    })
  })

  test('refuses a target that is read-only', async () => {
    await starting(SIZE, ['--read-only'], async (start, folder) => {
      const uri = socketUri(folder.file('target.nbd'))
      await refuses([...start, uri], EXIT.target, /read-only/)
    })
  })

  test('refuses a target that is not there, or no NBD server, or a malformed URI', async () => {
    await starting(SIZE, [], async (start, folder) => {
      await refuses([...start, socketUri(folder.file('none'))], EXIT.target, /cannot be reached/)
      await refuses([...start, 'nbd://[::1'], EXIT.usage, /URI/)
      const server = createServer(socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
      await new Promise<void>(resolve => server.listen(folder.file('http'), resolve))
      await refuses([...start, socketUri(folder.file('http'))], EXIT.target, /NBD|greeting|magic/)
      server.close()
    })
  })

  test('refuses a target that has another key, and a key file that is missing', async () => {
    await using folder = await temporary(await fastFolder())
    const keys = folder.file('keys')
    const others = folder.file('others')
    await writeFile(keys, `alice:${'1a'.repeat(32)}\n`)
    await writeFile(others, `alice:${'2b'.repeat(32)}\n`)
    const path = await makeDisk(folder.file('disk'), SIZE)
    const copy = await makeEmpty(folder.file('copy'), SIZE)
    const socket = folder.file('tls.nbd')
    await using target = await startServe(folder, 'target', {
      path: copy,
      listen: `nbds+unix:///?socket=${socket}`,
      words: ['--tls-psk', others],
    })
    await using source = await startServe(folder, 'source', { path })
    expect(source.uri).not.toBe(target.uri)
    const uri = `nbds+unix://alice@/?socket=${socket}`
    const control = ['--control', folder.file('source.control')]
    const start = ['mirror', 'start', ...control, '--target', uri, '--tls-psk']
    await refuses([...start, keys], EXIT.target, /key|TLS/)
    await refuses([...start, folder.file('none')], EXIT.target, /none/)
    expect((await readFile(copy)).every(byte => byte === 0)).toBe(true)
  })

  test('needs a control socket that answers', async () => {
    await using folder = await temporary(await fastFolder())
    const words = ['mirror', 'start', '--control', folder.file('none'), '--target', 'nbd://h/']
    await refuses(words, EXIT.control, /control socket/)
  })
})
