/** The words that ssh gets, and that they reach a shell unharmed. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { runCommand } from '../../src/host/run-command.ts'
import { Ssh, shellWord } from '../../src/host/ssh.ts'
import { Random } from '../support/random.ts'
import { stubPrograms } from './stub-programs.ts'

test('ssh asks nobody, notices a dead host, and shares its connection', () => {
  const ssh = new Ssh('b.example', { controlFolder: '/run/blkferry', extra: ['-p', '2222'] })
  const argv = ssh.argv(['blkferry', 'status'])
  for (const option of [
    'BatchMode=yes',
    'ServerAliveInterval=5',
    'ServerAliveCountMax=3',
    'ControlMaster=auto',
    'ControlPath=/run/blkferry/%C',
  ]) {
    expect(argv).toContain(option)
  }
  expect(argv.slice(-5)).toEqual(['-p', '2222', '--', 'b.example', 'blkferry status'])
})

test('a host that is an option, and a folder that is too long, are refused', () => {
  const options = { controlFolder: '/run/blkferry' }
  expect(() => new Ssh('-oProxyCommand=reboot', options)).toThrow('no name of a host')
  expect(() => new Ssh('', options)).toThrow('no name of a host')
  expect(() => new Ssh('b', { controlFolder: `/${'x'.repeat(45)}` })).toThrow('too long')
})

test('a shell takes every word as it was', async () => {
  const random = new Random(3)
  const alphabet = [...'ab \'"\\$`!*?~#&|;<>()[]{}\n\t=-ä']
  const words = ['', "'", "''", '-n', '$(reboot)', 'a b']
  for (let count = 0; count < 200; count++) {
    const length = 1 + random.below(8)
    words.push(Array.from({ length }, () => alphabet[random.below(alphabet.length)]).join(''))
  }
  const line = ['printf', '<%s>', ...words].map(shellWord).join(' ')
  for (const shell of ['sh', 'bash']) {
    const { stdout } = await runCommand([shell, '-c', line])
    expect(stdout).toBe(words.map(word => `<${word}>`).join(''))
  }
  expect(() => shellWord('a\0b')).toThrow('NUL')
})

test('a remote command gets its input, and its exit code comes back', async () => {
  await using stubs = await stubPrograms()
  stubs.add('ssh', 'for line; do :; done; exec sh -c "$line"')
  const ssh = new Ssh('b', { controlFolder: '/run/blkferry' })
  const { stdout } = await ssh.run(['sh', '-c', 'cat; echo "it\'s $0"', 'me'], { input: 'in\n' })
  expect(stdout).toBe("in\nit's me\n")
  await expect(ssh.run(['sh', '-c', 'exit 255'])).rejects.toMatchObject({ exitCode: 255 })
})

test('a started command has pipes', async () => {
  await using stubs = await stubPrograms()
  stubs.add('ssh', 'for line; do :; done; exec sh -c "$line"')
  const child = new Ssh('b', { controlFolder: '/run/blkferry' }).start(['cat'])
  child.stdin.end('through')
  const chunks: Buffer[] = []
  for await (const chunk of child.stdout) chunks.push(chunk as Buffer)
  expect(Buffer.concat(chunks).toString()).toBe('through')
})

test('what ends a connection names the one that the calls were made by', async () => {
  await using stubs = await stubPrograms()
  stubs.add('ssh', 'exit 0')
  const options = { controlFolder: '/run/blkferry', controlName: 'ssh-1', extra: ['-p', '2222'] }
  const ssh = new Ssh('b', options)
  expect(ssh.argv(['true'])).toContain('ControlPath=/run/blkferry/ssh-1')
  await ssh.close()
  const said = readFileSync(stubs.file('calls'), 'utf8')
  expect(said).toContain('|ControlPath=/run/blkferry/ssh-1|-O|exit|-p|2222|--|b|')
})

test('closing without a connection is harmless', async () => {
  await using stubs = await stubPrograms()
  stubs.add('ssh', 'exit 255')
  await new Ssh('b', { controlFolder: '/run/blkferry' }).close()
  expect(readFileSync(stubs.file('calls'), 'utf8')).toContain('|-O|exit|--|b|')
})
