/** The control socket's file: who may open it, and when it may be taken over. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ControlServer, connectControl, listenControl } from '../../src/control/channel.ts'
import { ControlError } from '../../src/control/control-error.ts'
import { SOCKET_PATH_BYTES_MAX } from '../../src/control/socket-path.ts'
import { sampleHandlers, serveSample } from './samples.ts'

const log = pino({ level: 'silent' })
const soon = { timeoutMs: 5000 }
let folder: string
let path: string
let server: ControlServer | undefined

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'control-'))
  path = join(folder, 'sock')
})

afterEach(async () => {
  await server?.close()
  server = undefined
  rmSync(folder, { recursive: true })
})

async function serve(): Promise<void> {
  server = await listenControl(path, sampleHandlers(), log)
}

async function failure(promise: Promise<unknown>): Promise<ControlError> {
  const error = await promise.then(
    () => new Error('was accepted'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ControlError)
  return error as ControlError
}

describe('the socket file', () => {
  test('is for its owner only, and goes away with the server', async () => {
    const before = process.umask()
    await serve()
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(process.umask()).toBe(before)
    await server?.close()
    expect(() => statSync(path)).toThrow('ENOENT')
  })

  test('of a running process is not taken', async () => {
    await serve()
    const error = await failure(listenControl(path, sampleHandlers(), log))
    expect(error.code).toBe('refused')
    expect(error.message).toContain('in use by a running process')
    using client = await connectControl(path)
    expect(await client.call('status', {}, soon)).toEqual(serveSample)
  })

  test('that nobody answers on is replaced', async () => {
    leaveDeadSocket()
    expect(statSync(path).isSocket()).toBe(true)
    await serve()
    using client = await connectControl(path)
    expect(await client.call('status', {}, soon)).toEqual(serveSample)
  })

  test('that is some other file is left alone', async () => {
    writeFileSync(path, 'precious')
    const error = await failure(listenControl(path, sampleHandlers(), log))
    expect(error.message).toContain('is not a socket')
    expect(statSync(path).size).toBe(8)
  })

  test('that is missing, dead or too long is said to be so', async () => {
    expect(await failure(connectControl(path))).toMatchObject({
      code: 'closed',
      message: expect.stringContaining('there is no control socket'),
    })
    leaveDeadSocket()
    expect((await failure(connectControl(path))).message).toContain('nobody answers')
    const long = `/${'x'.repeat(SOCKET_PATH_BYTES_MAX)}`
    expect((await failure(connectControl(long))).message).toContain('108 bytes')
    expect((await failure(listenControl(long, sampleHandlers(), log))).code).toBe('refused')
    const nowhere = join(folder, 'none/sock')
    const refused = await failure(listenControl(nowhere, sampleHandlers(), log))
    expect(refused.message).toContain('give a path in an existing directory')
  })
})

/** A socket file as a killed process leaves it: bound once, now without anybody behind it. */
function leaveDeadSocket(): void {
  const script = `require('net').createServer()
    .listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`
  try {
    execFileSync(process.execPath, ['-e', script])
  } catch (error) {
    expect(error).toMatchObject({ signal: 'SIGKILL' })
  }
}
