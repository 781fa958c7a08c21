/**
 * Help and the reference name what is accepted; what is not accepted is answered with what was
 * meant.
 */
import { describe, expect, test } from 'vitest'
import { COMMANDS, GROUPS } from '../../src/cli/commands.ts'
import { EXIT, EXIT_MEANINGS, exitCodeOf } from '../../src/cli/exit-codes.ts'
import { reference } from '../../src/cli/help.ts'
import { nearest } from '../../src/cli/nearest.ts'
import { ControlError, REMOTE_CODES } from '../../src/control/control-error.ts'
import { blkferry } from './support.ts'

describe('help', () => {
  test.each(COMMANDS.map(command => [command.name, command] as const))(
    'of %s names every option, default, choice and exit code',
    async (name, command) => {
      for (const ask of ['--help', '-h']) {
        const { exitCode, stdout } = await blkferry([...name.split(' '), ask])
        expect(exitCode).toBe(EXIT.ok)
        for (const [option, { placeholder, fallback }] of Object.entries(command.options)) {
          expect(stdout).toMatch(new RegExp(`^ {2}--${option}( |$)`, 'm'))
          if (placeholder !== null) expect(stdout).toContain(`--${option} ${placeholder}`)
          if (fallback) expect(stdout).toContain(`default ${fallback}`)
        }
        for (const [word, meaning] of Object.entries(EXIT_MEANINGS)) {
          expect(stdout).toContain(` ${EXIT[word as keyof typeof EXIT]}  ${meaning}`)
        }
        for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(100)
      }
    },
  )

  test.each(COMMANDS.flatMap(({ examples }) => examples))('the example parses: %s', example => {
    const words = example.split(' ').slice(1)
    const command = COMMANDS.find(({ name }) => `${words.join(' ')} `.startsWith(`${name} `))
    expect(command).toBeDefined()
    command?.parse(words.slice(command.name.split(' ').length))
  })

  test('of blkferry and of its groups lists their commands', async () => {
    const top = await blkferry(['--help'])
    for (const { name, summary } of COMMANDS) {
      expect(top.stdout).toContain(`  ${name.padEnd(26)}${summary}\n`)
    }
    const mirror = await blkferry(['mirror', '--help'])
    expect(mirror.stdout).toContain('mirror complete')
    expect(mirror.stdout).not.toContain('  serve')
  })

  test('is asked for even where the rest is wrong, and not after --', async () => {
    expect((await blkferry(['serve', '--nonsense', '--help'])).exitCode).toBe(EXIT.ok)
    expect((await blkferry(['serve', '--', '--help'])).exitCode).toBe(EXIT.usage)
  })

  test('is the reference, word for word', async () => {
    // After a change of an option: npx vitest run test/cli/help.test.ts -u
    const file = new URL('../../docs/COMMAND-LINE.md', import.meta.url).pathname
    await expect(reference(GROUPS, COMMANDS)).toMatchFileSnapshot(file)
  })

  test('as JSON, and the version', async () => {
    expect(JSON.parse((await blkferry(['--help', '--json'])).stdout).help).toContain('Usage:')
    expect((await blkferry(['--version'])).stdout).toMatch(/^blkferry \d+\.\d+\.\d+\n$/)
    expect(JSON.parse((await blkferry(['--version', '--json'])).stdout)).toHaveProperty('version')
  })
})

const sock = ['--control', '/run/x.sock']
const serve = ['serve', '/x', '--listen']
const start = ['mirror', 'start', ...sock, '--target']

describe('a wrong command line is one sentence and exit code 2', () => {
  test.each([
    [[], 'give a command first: see blkferry --help'],
    [['--json'], 'give a command first'],
    [['sevre'], 'unknown command "sevre": did you mean blkferry serve?'],
    [['frobnicate'], 'unknown command "frobnicate": see blkferry --help'],
    [['mirror'], 'give a command first: see blkferry mirror --help'],
    [['mirror', 'strat'], 'unknown command "mirror strat": did you mean blkferry mirror start?'],
    [
      ['mirror', 'start', '--bandwith', '1'],
      'unknown option --bandwith: did you mean --bandwidth?',
    ],
    [['status', '--frob'], 'unknown option --frob: see blkferry status --help'],
    [['status', '-c', 'x'], 'unknown option -c: see blkferry status --help'],
    [['status', '--constructor'], 'unknown option --constructor'],
    [['mirror', 'wait'], 'mirror wait needs --control SOCK: the control socket'],
    [['status', '--control'], '--control needs a value: --control SOCK'],
    [['status', '--control', '--json'], '--control needs a value'],
    [['status', '--control='], '--control must be text'],
    [['status', ...sock, ...sock], '--control is given 2 times: give it once'],
    [['cancel', 'web1', 'more'], '"more" is one word too many: see blkferry cancel --help'],
    [['cancel'], 'cancel needs SESSION: the guest’s name'],
    [['status', 'web1', ...sock], '--control goes alone'],
    [['migrate', 'web1'], 'migrate needs HOST: the other host, as ssh knows it'],
    [['migrate', 'web1', 'h', '--', '-x'], '"-x" is one word too many'],
    [['migrate', 'x', 'h', '--tunnel', '--address', 'a'], '--tunnel and --address do not go'],
    [['resolve', 'x', '--force', 'me'], '--force must be one of source, destination'],
    [['mirror', 'status', ...sock, '--watch=1'], '--watch takes no value: leave out =1'],
    [['mirror', 'set', ...sock], 'mirror set needs one of --bandwidth, --stall-ms and --copy-mode'],
    [['mirror', 'wait', ...sock, '--timeout', '0'], '--timeout must be seconds, above 0'],
    [[...start, 'ndb://host/x'], '--target must be an NBD URI such as'],
    [[...start, 'nbd://h:0/x'], 'port 0'],
    [[...start, 'nbd://h', '--copy-mode', 'async'], 'one of auto, background, write-blocking'],
    [[...start, 'nbd://h', '--bandwidth', '1MB'], '--bandwidth must be a rate such as'],
    [[...start, 'nbd://h', '--granularity', '96K'], 'a power of two from 4K to 1M, not 98304'],
    [[...start, 'nbd://h', '--granularity', '2M'], 'a power of two from 4K to 1M'],
    [[...start, 'nbd://h', '--stall-ms', '1.5'], 'a whole number from 1 to'],
    [['serve'], 'serve needs PATH: the disk, a block device or a file'],
    [['serve', '/x'], 'serve needs --listen URI'],
    [[...serve, '/tmp/sock'], '--listen must be an NBD URI such as'],
    [[...serve, 'nbds://h'], '--listen nbds://h needs --tls-psk FILE'],
    [[...serve, 'nbd://h', '--tls-psk', '/psk'], '--tls-psk does not protect --listen nbd://h'],
    [[...serve, 'nbd://h', '--engine', 'fast'], '--engine must be one of auto, uring, libuv'],
  ])('%j', async (words, sentence) => {
    const { exitCode, stdout, stderr } = await blkferry(words)
    expect(exitCode).toBe(EXIT.usage)
    const output = words.includes('--json') ? stdout : stderr
    expect(output).toContain(sentence)
    expect(output.trimEnd().split('\n')).toHaveLength(1)
  })
})

describe('the nearest word', () => {
  test.each([
    ['listn', 'listen'],
    ['lsiten', 'listen'],
    ['read-onyl', 'read-only'],
    ['Json', 'json'],
    ['copymode', 'copy-mode'],
  ])('to %s is %s', (word, meant) => {
    expect(nearest(word, ['json', 'help', 'listen', 'read-only', 'copy-mode'])).toBe(meant)
  })

  test('is none where nothing is near', () => {
    expect(nearest('frobnicate', ['json', 'help', 'listen'])).toBeUndefined()
    expect(nearest('x', [])).toBeUndefined()
  })
})

describe('exit codes', () => {
  test('are distinct and explained', () => {
    expect(Object.values(EXIT)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(Object.keys(EXIT_MEANINGS)).toEqual(Object.keys(EXIT))
  })

  test('of errors from the other side and of the connection', () => {
    const remote = (code: (typeof REMOTE_CODES)[number]) =>
      exitCodeOf(ControlError.refuse(code, 'x'))
    expect(Object.fromEntries(REMOTE_CODES.map(code => [code, remote(code)]))).toMatchObject({
      version: 7,
      invalid: 2,
      'no-mirror': 1,
      'target-refused': 4,
      'target-unreachable': 4,
      'mirror-failed': 5,
      'mirror-cancelled': 5,
      'verify-difference': 6,
      timeout: 8,
      internal: 1,
    })
    expect(exitCodeOf(new ControlError('closed', 'x'))).toBe(EXIT.control)
    expect(exitCodeOf(new ControlError('version', 'x'))).toBe(EXIT.control)
    expect(exitCodeOf(new ControlError('timeout', 'x'))).toBe(EXIT.timeout)
    expect(exitCodeOf(new Error('x'))).toBe(EXIT.failed)
  })
})
