/** The front end for xl, with stubs of xl and blkferry that tell what they were given. */
import { spawn } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const script = new URL('../../scripts/xl-front-end', import.meta.url).pathname
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'xl-'))
  for (const name of ['front', 'real', 'work']) mkdirSync(join(folder, name))
  copyFileSync(script, join(folder, 'front/xl'))
  chmodSync(join(folder, 'front/xl'), 0o755)
  // Each word between zeroes, then what comes on stdin; its own name for an exit code.
  const stub = (name: string, code: number) =>
    `#!/bin/bash\nprintf '%s\\0' ${name} "$@"\ncat\nexit ${code}\n`
  program('real/xl', stub('xl', 7))
  program('front/blkferry', stub('blkferry', 3))
})

afterEach(() => rmSync(folder, { recursive: true }))

function program(path: string, text: string): void {
  writeFileSync(join(folder, path), text)
  chmodSync(join(folder, path), 0o755)
}

function xl(words: readonly string[], input: Buffer | string = '') {
  const front = join(folder, 'front')
  const env = { PATH: `${front}:${join(folder, 'real')}:/usr/bin:/bin` }
  const child = spawn('xl', words, { cwd: join(folder, 'work'), env })
  const chunks: Buffer[] = []
  let stderr = ''
  child.stdout.on('data', chunk => chunks.push(chunk))
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  return new Promise<{ code: number | null; stdout: Buffer; stderr: string }>(resolve => {
    child.on('close', code => resolve({ code, stdout: Buffer.concat(chunks), stderr }))
  })
}

const given = (stdout: Buffer): string[] => stdout.toString().split('\0').slice(0, -1)

describe('the front end for xl', () => {
  test.each([
    [[]],
    [['list']],
    [['list', '--copy-disks']],
    [['-v', 'migrate', 'web1', 'host2']],
    [['migrate', '--debug', 'web1', 'host2']],
    [['migrate', '-s', 'ssh -p 2222', '-C', 'a b', 'web1', 'host2']],
    [['migrate-receive', '--copy-disks']],
    [['create', '/etc/xen/web1.cfg', "name='migrate --copy-disks'"]],
    [['console', 'migrate', '--copy-disks']],
    [['x', '', ' a  b ', '*', "'", '"', '\\', '$HOME', 'line\nline', '\x01\x7f', 'ü']],
  ])('hands %j through, byte for byte', async words => {
    const { code, stdout, stderr } = await xl(words)
    expect(given(stdout)).toEqual(['xl', ...words])
    expect({ code, stderr }).toEqual({ code: 7, stderr: '' })
  })

  test('hands stdin and stdout through as they are', async () => {
    const input = Buffer.from(Array.from({ length: 100_000 }, (_, index) => index % 256))
    const { stdout } = await xl(['migrate-receive'], input)
    expect(stdout.subarray('xl\0migrate-receive\0'.length)).toEqual(input)
  })

  test('becomes xl, so that no process of its own is in between', async () => {
    program('real/xl', '#!/bin/bash\necho $$ $PPID\n')
    const { stdout } = await xl(['list'])
    expect(Number(stdout.toString().split(' ')[1])).toBe(process.pid)
  })

  test.each([
    [
      ['migrate', '--copy-disks', 'web1', 'host2'],
      ['web1', 'host2'],
    ],
    [
      ['migrate', 'web1', 'host2', '--copy-disks', '--live'],
      ['web1', 'host2'],
    ],
    [
      ['migrate', '--copy-disks', '-p', '-D', '-e', '--debug', 'web1', 'host2'],
      [...['-p', '-D', '-e', '--debug'].map(word => `--xl-option=${word}`), 'web1', 'host2'],
    ],
    [
      ['migrate', '--copy-disks', '-C', '/etc/a b.cfg', 'web1', 'host2'],
      ['--xl-option=-C', '--xl-option=/etc/a b.cfg', 'web1', 'host2'],
    ],
    [
      ['migrate', '--copy-disks', '--bandwidth', '100M', '--json', 'web 1', 'host2'],
      ['--bandwidth', '100M', '--json', 'web 1', 'host2'],
    ],
    [
      ['migrate', '--copy-disks', '--ssh-option', '-p', '--ssh-option', '2222', 'web1', 'host2'],
      ['--ssh-option=-p', '--ssh-option=2222', 'web1', 'host2'],
    ],
  ])('turns %j into blkferry migrate', async (words, expected) => {
    const { code, stdout } = await xl(words)
    expect(given(stdout)).toEqual(['blkferry', 'migrate', ...expected])
    expect(code).toBe(3)
  })

  test('gives a config file by its full path, since xl is started elsewhere', async () => {
    const { stdout } = await xl(['migrate', '--copy-disks', '-C', 'web1.cfg', 'web1', 'host2'])
    expect(given(stdout)).toContain(`--xl-option=${join(folder, 'work/web1.cfg')}`)
  })

  test.each([
    [['migrate', '--copy-disks', '-s', 'ssh', 'web1', 'host2'], 'leave out -s'],
    [['migrate', '--copy-disks', '-F', 'web1', 'host2'], 'leave out -F'],
    [['-N', 'migrate', '--copy-disks', 'web1', 'host2'], 'leave out -N'],
    [['migrate', '--copy-disks', '-C'], '-C needs a file'],
  ])('refuses %j with a sentence', async (words, sentence) => {
    const { code, stdout, stderr } = await xl(words)
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(sentence)
  })

  test('says so where there is no other xl', async () => {
    rmSync(join(folder, 'real/xl'))
    const { code, stderr } = await xl(['list'])
    expect(code).toBe(2)
    expect(stderr).toBe('xl: the real xl is not in PATH: install xen-utils\n')
  })
})
