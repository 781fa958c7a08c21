/** Real processes that succeed, fail, print too much, hang, and leave children behind. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { CommandError, runCommand } from '../../src/host/run-command.ts'
import { temporary } from '../support/temporary.ts'

async function failure(work: Promise<unknown>): Promise<CommandError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  expect(error).toBeInstanceOf(CommandError)
  return error as CommandError
}

const sh = (script: string): [string, ...string[]] => ['sh', '-c', script]

test('both outputs come back, and the input goes in', async () => {
  const output = await runCommand(sh('cat; echo told >&2; echo "$EXTRA"'), {
    input: 'given\n',
    environment: { EXTRA: 'more' },
  })
  expect(output).toEqual({ stdout: 'given\nmore\n', stderr: 'told\n' })
})

test('words reach the program as they are', async () => {
  const words = ['a b', '$HOME', "it's", '', '*', '-n', 'line\nbreak']
  const { stdout } = await runCommand(['printf', '<%s>', ...words])
  expect(stdout).toBe(words.map(word => `<${word}>`).join(''))
})

test('an exit code that is not 0 comes with what was said', async () => {
  const error = await failure(runCommand(sh('echo no such thing >&2; exit 7')))
  expect(error).toMatchObject({ code: 'exit', exitCode: 7, stderr: 'no such thing\n' })
  expect(error.message).toBe('sh: exit code 7: no such thing')
  expect(error.argv[2]).toContain('exit 7')
})

test('a program that is not there, or was killed, is told apart', async () => {
  const missing = await failure(runCommand(['no-such-program-at-all']))
  expect(missing).toMatchObject({ code: 'missing', exitCode: undefined })
  expect(missing.message).toContain('install it')
  const killed = await failure(runCommand(sh('kill -9 $$')))
  expect(killed).toMatchObject({ code: 'signal', exitCode: undefined })
})

test('a program that hangs is stopped, with all that it started', async () => {
  await using folder = await temporary()
  const script = `sleep 100 & echo $! >${folder.file('pid')}; trap '' TERM; wait; wait`
  const error = await failure(runCommand(sh(script), { timeoutMs: 300 }))
  expect(error).toMatchObject({ code: 'timeout', exitCode: undefined })
  const pid = readFileSync(folder.file('pid'), 'utf8').trim()
  // Gone, or dead and not yet reaped.
  const isGone = (): boolean => {
    try {
      return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')
    } catch {
      return true
    }
  }
  await expect.poll(isGone).toBe(true)
})

test('a child left behind that holds the pipes open is not waited for', async () => {
  const { stdout } = await runCommand(sh('sleep 30 & echo $!'))
  process.kill(Number(stdout.trim()), 'SIGKILL')
})

test('too much output ends it', async () => {
  const error = await failure(runCommand(['yes'], { outputBytesMax: 1000 }))
  expect(error.code).toBe('output')
  const whole = await runCommand(['printf', 'x'.repeat(1000)], { outputBytesMax: 1000 })
  expect(whole.stdout).toHaveLength(1000)
})

test('input that nobody reads is no failure', async () => {
  const { stdout } = await runCommand(sh('echo done'), { input: 'x'.repeat(1_000_000) })
  expect(stdout).toBe('done\n')
})
