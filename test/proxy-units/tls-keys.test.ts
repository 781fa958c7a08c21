/** The file of pre-shared keys. */
import { writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ServeError } from '../../src/proxy/serve-error.ts'
import { readTlsKeys } from '../../src/proxy/tls-keys.ts'
import { temporary } from '../support/temporary.ts'

const KEY = '00112233445566778899aabbccddeeff'

test('keys are read by identity; comments, empty lines and line ends do not matter', async () => {
  await using folder = await temporary()
  const path = folder.file('psk')
  writeFileSync(path, `# made by psktool\n\nalice:${KEY}\r\nbob:${KEY.toUpperCase()}${KEY}\n`)
  const keys = readTlsKeys(path)
  expect([...keys.keys()]).toEqual(['alice', 'bob'])
  expect(Buffer.from(keys.get('alice')!).toString('hex')).toBe(KEY)
  expect(keys.get('bob')).toHaveLength(32)
})

test.each([
  ['no colon', KEY],
  ['a short key', 'alice:0011'],
  ['half a byte', `alice:${KEY}0`],
  ['no identity', `:${KEY}`],
  ['other characters', `alice:${KEY}xyz`],
])('a line with %s is named by its number, never by what is in it', async (_, line) => {
  await using folder = await temporary()
  const path = folder.file('psk')
  writeFileSync(path, `bob:${KEY}\n${line}\n`)
  const error = new Promise(() => readTlsKeys(path)).catch((reason: Error) => reason)
  const { message } = (await error) as Error
  expect(message).toContain('line 2')
  expect(message).not.toContain('0011')
})

test('a file without keys, or no file, says what to do', async () => {
  await using folder = await temporary()
  writeFileSync(folder.file('empty'), '# nothing\n')
  expect(() => readTlsKeys(folder.file('empty'))).toThrow('psktool')
  expect(() => readTlsKeys(folder.file('missing'))).toThrow(ServeError)
})
