/** The built command as a process: exit codes, streams and signals as a script meets them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const main = new URL('../../dist/cli/main.js', import.meta.url).pathname
const isBuilt = existsSync(main)
let folder: string
const children: ChildProcess[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cli-'))
})

afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

/** A running command; `next` waits for its first output, `end` for its exit. */
function blkferry(...words: string[]) {
  const started = spawn(process.execPath, [main, ...words], { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(started)
  const caught = { stdout: '', stderr: '' }
  started.stderr.on('data', chunk => {
    caught.stderr += chunk
  })
  const next = new Promise<string>(resolve => {
    started.stdout.on('data', chunk => {
      caught.stdout += chunk
      if (caught.stdout.includes('\n')) resolve(caught.stdout)
    })
    started.on('close', () => resolve(caught.stdout))
  })
  const end = new Promise<{ code: number | null; stdout: string; stderr: string }>(resolve => {
    started.on('close', code => resolve({ code, ...caught }))
  })
  return { process: started, next, end }
}

function makeDisk(): string {
  const path = join(folder, 'disk.img')
  writeFileSync(path, '')
  truncateSync(path, 1024 * 1024)
  return path
}

describe.skipIf(!isBuilt)('the built command (npm run build)', () => {
  test('prints its version and exits with 0', async () => {
    const { code, stdout, stderr } = await blkferry('--version').end
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toMatch(/^blkferry \d/)
  })

  test('exits with 2 and one sentence for a wrong option', async () => {
    expect(await blkferry('serve', '--lisen', 'x').end).toEqual({
      code: 2,
      stdout: '',
      stderr: 'blkferry: unknown option --lisen: did you mean --listen?\n',
    })
  })

  test('exits with 7 where no proxy answers', async () => {
    const { code } = await blkferry('status', '--control', join(folder, 'sock')).end
    expect(code).toBe(7)
  })

  test('exits with 3 and one sentence for a disk that is not there', async () => {
    const path = join(folder, 'missing')
    const uri = `nbd+unix:///?socket=${join(folder, 'nbd')}`
    const { code, stdout, stderr } = await blkferry('serve', path, '--listen', uri).end
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' })
    expect(stderr.split('\n').filter(line => line.startsWith('blkferry: '))).toHaveLength(1)
    expect(stderr).toContain(path)
  })

  test('goes on serving when nobody reads its log any more', async () => {
    const uri = `nbd+unix:///?socket=${join(folder, 'nbd')}`
    const server = blkferry('serve', makeDisk(), '--listen', uri)
    await server.next
    server.process.stdout.destroy()
    server.process.stderr.destroy()
    server.process.kill('SIGTERM')
    expect((await server.end).code).toBe(0)
  })

  test('serves, answers status, and ends with 0 on SIGTERM leaving no socket behind', async () => {
    const socket = join(folder, 'nbd')
    const control = join(folder, 'control')
    const uri = `nbd+unix:///?socket=${socket}`
    const words = ['serve', makeDisk(), '--listen', uri, '--control', control, '--json']
    const server = blkferry(...words)
    const [listening] = JSON.parse(await server.next).listening
    expect(listening).toContain(socket)
    const asked = await blkferry('status', '--control', control, '--json').end
    expect(JSON.parse(asked.stdout)).toMatchObject({ size: 1024 * 1024, mirror: null })
    server.process.kill('SIGTERM')
    expect((await server.end).code).toBe(0)
    expect([existsSync(socket), existsSync(control)]).toEqual([false, false])
  })
})
