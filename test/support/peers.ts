/** NBD servers of other projects on a unix socket, for the time of one test. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** Longest wait for a server to listen (ms). */
const START_TIMEOUT_MS = 10_000

export interface Peer extends AsyncDisposable {
  readonly pid: number
  readonly socket: string
  /** Of its default export, or the one it has. */
  readonly uri: string
}

/** `nbdkit ARGS` on `socket`, for example `['memory', '2M']`. */
export function startNbdkit(socket: string, args: readonly string[]): Promise<Peer> {
  return start('nbdkit', ['--foreground', '--exit-with-parent', '--unix', socket, ...args], socket)
}

/** `qemu-nbd ARGS` on `socket`, for example `['--format=raw', 'disk.img']`. */
export function startQemuNbd(socket: string, args: readonly string[]): Promise<Peer> {
  return start('qemu-nbd', ['--persistent', '--shared=8', '--socket', socket, ...args], socket)
}

/** `nbd-server` with `file` as its export `disk`; its configuration goes to `configuration`. */
export async function startNbdServer(
  socket: string,
  file: string,
  configuration: string,
): Promise<Peer> {
  const lines = ['[generic]', `unixsock = ${socket}`, '[disk]', `exportname = ${file}`]
  await writeFile(configuration, `${lines.join('\n')}\n`)
  // In the foreground it serves one client and ends, so it has to be a daemon with a pid file.
  const pidFile = `${configuration}.pid`
  const starter = spawn('nbd-server', ['-C', configuration, '-p', pidFile], { stdio: 'ignore' })
  await once(starter, 'exit')
  const deadline = performance.now() + START_TIMEOUT_MS
  while (!(await listens(socket))) {
    if (performance.now() > deadline) throw new Error('nbd-server did not start')
    await sleep(20)
  }
  const pid = Number(await readFile(pidFile, 'utf8'))
  const dispose = async (): Promise<void> => {
    process.kill(pid, 'SIGTERM')
  }
  return { pid, socket, uri: `nbd+unix:///disk?socket=${socket}`, [Symbol.asyncDispose]: dispose }
}

async function start(command: string, args: readonly string[], socket: string): Promise<Peer> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', text => {
    complaints += text
  })
  const deadline = performance.now() + START_TIMEOUT_MS
  while (!(await listens(socket))) {
    if (child.exitCode !== null || performance.now() > deadline) {
      child.kill('SIGKILL')
      throw new Error(`${command} ${args.join(' ')} did not start: ${complaints}`)
    }
    await sleep(20)
  }
  const dispose = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }
  return {
    pid: child.pid ?? 0,
    socket,
    uri: `nbd+unix:///?socket=${socket}`,
    [Symbol.asyncDispose]: dispose,
  }
}

async function listens(socket: string): Promise<boolean> {
  const client = connect(socket)
  try {
    await once(client, 'connect')
    return true
  } catch {
    return false
  } finally {
    client.destroy()
  }
}
