/** The demo itself, small: it proves what it says, and leaves nothing behind however it ends. */
import { spawn } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { fastFolder } from '../support/blkferry.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const MAIN = fileURLToPath(new URL('../../dist/demo/main.js', import.meta.url))

interface Ran {
  readonly code: number | null
  readonly documents: readonly Record<string, unknown>[]
}

/** Runs the demo with its files in `folder`; the signal is sent when the mirror has begun. */
function demo(folder: Temporary, words: readonly string[], signal?: NodeJS.Signals): Promise<Ran> {
  const env = { ...process.env, TMPDIR: folder.path }
  const argv = [MAIN, '--json', ...words]
  const child = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    if (signal !== undefined && text.includes('"state":"running"')) child.kill(signal)
  })
  return new Promise(resolve => {
    child.on('close', code => {
      const lines = text.split('\n').filter(line => line !== '')
      resolve({ code, documents: lines.map(line => JSON.parse(line)) })
    })
  })
}

test('the demo migrates, proves it and removes its files', async () => {
  await using folder = await temporary(await fastFolder())
  const { code, documents } = await demo(folder, ['--size', '64M', '--rate', '300', '--verify'])
  expect(code, JSON.stringify(documents.at(-1))).toBe(0)
  const { checks, mirror } = documents.at(-1) as {
    checks: { name: string; isRight?: boolean }[]
    mirror: { outcome: string }
  }
  expect(mirror.outcome).toBe('completed')
  expect(checks.map(({ isRight }) => isRight)).not.toContain(false)
  expect(checks).toHaveLength(4)
  expect(await readdir(folder.path)).toEqual([])
})

test('an interrupted demo ends its processes and removes its files', async () => {
  await using folder = await temporary(await fastFolder())
  const words = ['--size', '64M', '--bandwidth', '1M']
  const { code, documents } = await demo(folder, words, 'SIGINT')
  expect(code).toBe(1)
  expect(documents.at(-1)).toMatchObject({ error: { message: 'stopped by SIGINT' } })
  expect(await readdir(folder.path)).toEqual([])
})
