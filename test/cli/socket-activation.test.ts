/** The daemon's socket as systemd hands it over: the first call starts whoever serves it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { connectVerbs } from '../../src/control/channel.ts'
import { daemonVerbs } from '../../src/daemon/verbs.ts'

const ACTIVATE = '/usr/bin/systemd-socket-activate'
const root = new URL('../..', import.meta.url).pathname
const isPossible = existsSync(ACTIVATE) && existsSync(join(root, 'dist/cli/daemon.js'))
const folder = mkdtempSync(join(tmpdir(), 'activation-'))
let child: ChildProcess | undefined

/** A daemon without a host: it answers one verb, and says how it was started. */
const SERVER = `
  import { listenVerbs } from '${root}dist/control/channel.js'
  import { takeListenFd } from '${root}dist/cli/daemon.js'
  import { daemonVerbs } from '${root}dist/daemon/verbs.js'
  import { pino } from 'pino'
  const inheritedFd = takeListenFd(process.env, process.pid)
  const left = Object.keys(process.env).filter(name => name.startsWith('LISTEN_'))
  const status = { version: '1', pid: process.pid, host: 'a', sessions: left.length }
  const handlers = { 'host-status': () => status }
  const log = pino({ level: 'silent' })
  const server = await listenVerbs('/nowhere', { table: daemonVerbs, handlers, log, inheritedFd })
  process.on('SIGTERM', () => server.close())`

afterEach(() => {
  child?.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

test.skipIf(!isPossible)(
  'the first call is answered, and the socket outlives the daemon',
  async () => {
    const socket = join(folder, 'sock')
    const words = ['-l', socket, process.execPath, '--input-type=module', '--eval', SERVER]
    child = spawn(ACTIVATE, words, { stdio: 'ignore', cwd: root })
    const exited = new Promise<number | null>(resolve => child?.on('exit', resolve))
    while (!existsSync(socket)) await sleep(20)
    using client = await connectVerbs(socket, daemonVerbs)
    const status = await client.call('host-status', {}, { timeoutMs: 30_000 })
    expect(status).toMatchObject({ pid: child.pid, sessions: 0 })
    child.kill('SIGTERM')
    expect(await exited).toBe(0)
    expect(existsSync(socket)).toBe(true)
  },
)
