/**
 * What blkferry starts itself, and nobody types: the daemon, the channel to it, and both ends of
 * the relay. They own their standard streams, so they run before the command line touches those.
 */
import { Socket } from 'node:net'
import process from 'node:process'
import { pino } from 'pino'
import { ControlClient } from '../control/client.ts'
import type { DaemonVerbs } from '../daemon/messages.ts'
import { daemonVerbs } from '../daemon/verbs.ts'
import { connectDaemon, daemonSocket } from './start-daemon.ts'

type Program = (words: readonly string[]) => Promise<number>

const PROGRAMS: Readonly<Record<string, Program>> = {
  daemon: runTheDaemon,
  channel: runChannel,
  relay: words => runRelay('source', words),
  'relay-receive': words => runRelay('destination', words),
}

/** Settles with an exit code; undefined if the first word is none of these programs. */
export async function runProgram(words: readonly string[]): Promise<number | undefined> {
  const [name = '', ...rest] = words
  const program = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined
  if (program === undefined || rest.includes('--help')) return undefined
  try {
    return await program(rest)
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    process.stderr.write(`blkferry ${name}: ${problem}\n`)
    return 1
  }
}

/** The word behind `--name`. */
function optionOf(words: readonly string[], name: string): string | undefined {
  const at = words.indexOf(`--${name}`)
  return at === -1 ? undefined : words[at + 1]
}

/** systemd's first socket (sd_listen_fds). */
const LISTEN_FDS_START = 3

async function runTheDaemon(words: readonly string[]): Promise<number> {
  const { runDaemon, RUN_FOLDER, STATE_FOLDER } = await import('../daemon/daemon.ts')
  const { openHost } = await import('../daemon/real-host.ts')
  const log = pino({ level: optionOf(words, 'log-level') ?? 'info' }, pino.destination(2))
  const main = new URL('main.js', import.meta.url).pathname
  const { LISTEN_PID, LISTEN_FDS } = process.env
  const isHandedOver = LISTEN_PID === String(process.pid) && LISTEN_FDS === '1'
  const daemon = await runDaemon({
    socket: optionOf(words, 'socket') ?? daemonSocket(),
    stateFolder: STATE_FOLDER,
    host: openHost({ command: [process.execPath, main], runFolder: RUN_FOLDER }),
    log,
    inheritedFd: isHandedOver ? LISTEN_FDS_START : undefined,
  })
  await new Promise<void>(resolve => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => resolve())
  })
  await daemon.stop()
  return 0
}

/** Joins the standard streams to the daemon's socket, for a daemon of another host. */
async function runChannel(): Promise<number> {
  const daemon = await connectDaemon()
  const input = new Socket({ fd: 0, readable: true, writable: false })
  const output = new Socket({ fd: 1, readable: false, writable: true })
  input.pipe(daemon).pipe(output)
  await new Promise<void>(resolve => {
    for (const stream of [input, output, daemon]) {
      stream.on('error', () => resolve())
      stream.on('close', () => resolve())
    }
  })
  return 0
}

async function runRelay(side: 'source' | 'destination', words: readonly string[]): Promise<number> {
  const { runSourceRelay, runDestinationRelay } = await import('../daemon/relay.ts')
  const session = optionOf(words, 'session') ?? ''
  const start = words.indexOf('--') + 1
  using client = new ControlClient<DaemonVerbs>(await connectDaemon(), daemonVerbs)
  const run = side === 'source' ? runSourceRelay : runDestinationRelay
  return await run(client, session, words.slice(start))
}
