/**
 * `blkferry daemon`: one per dom0, in the foreground. systemd, the hotplug script or any other
 * command starts it. A signal ends it, and no guest notices; a second one ends it at once.
 */
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { ControlError } from '../control/control-error.ts'
import type { RunningDaemon } from '../daemon/daemon.ts'
import { type Context, defineCommand } from './command.ts'
import { CommandFailure, EXIT, type ExitCode } from './exit-codes.ts'
import { choice, optional, text, withDefault } from './options.ts'
import { LOG_LEVELS } from './serve.ts'
import { daemonSocket } from './start-daemon.ts'

/** The first of those that systemd hands over (sd_listen_fds(3)). */
const LISTEN_FD = 3

export const daemonCommand = defineCommand({
  name: 'daemon',
  summary: 'run the host’s daemon in the foreground',
  details:
    'Needs root. Other commands start it by themselves; systemd does where it runs. It keeps the ' +
    'journal of which disks this host owns and does what a migration needs, but is in the path ' +
    'of no guest’s disk: it may be stopped and started at any time. A migration that is under ' +
    'way then is undone, or past the point of no return finished, by the next one.',
  positionals: [],
  options: {
    socket: optional(text('SOCK'), 'where commands reach it; /run/blkferry/daemon.sock without it'),
    state: withDefault(text('DIR'), '/var/lib/blkferry', 'the journal; must survive a reboot'),
    run: withDefault(
      text('DIR'),
      '/run/blkferry',
      'what is of this boot only, best on tmpfs; a path of 45 bytes at most',
    ),
    'log-level': withDefault(choice(LOG_LEVELS), 'info', 'log to stderr from this level up'),
  },
  examples: ['blkferry daemon', 'blkferry daemon --log-level debug'],
  run: async (values, context) => {
    const log = pino(
      { level: values['log-level'] },
      context.output.stderr as pino.DestinationStream,
    )
    const socket = values.socket ?? daemonSocket()
    // For xl, which we start, and for what it starts: hotplug script and relay.
    process.env.BLKFERRY_SOCKET = socket
    const inheritedFd = takeListenFd(process.env, process.pid)
    const { openHost } = await import('../daemon/real-host.ts')
    const { runDaemon } = await import('../daemon/daemon.ts')
    const main = fileURLToPath(new URL('main.js', import.meta.url))
    const command = [process.execPath, main] as const
    const start = async (): Promise<RunningDaemon> => {
      const host = openHost({ command, runFolder: values.run })
      return await runDaemon({ socket, stateFolder: values.state, host, log, inheritedFd })
    }
    const daemon = await start().catch((error: unknown) => {
      if (error instanceof ControlError) throw error
      const why = error instanceof Error ? error.message : String(error)
      throw new CommandFailure(EXIT.failed, `the daemon cannot start: ${why}`, error)
    })
    context.output.result({ socket, pid: process.pid }, `the daemon listens on ${socket}`)
    await untilSignal(context)
    await daemon.stop()
    return EXIT.ok
  },
})

function untilSignal(context: Context): Promise<void> {
  return new Promise(resolve => {
    let isStopping = false
    context.onSignal(() => {
      if (isStopping) context.exit(EXIT.failed satisfies ExitCode)
      isStopping = true
      resolve()
    })
  })
}

/** The socket that systemd has opened for us; the words that say so are for nobody else. */
export function takeListenFd(environment: NodeJS.ProcessEnv, pid: number): number | undefined {
  const isOurs = environment.LISTEN_PID === String(pid) && environment.LISTEN_FDS === '1'
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name]
  return isOurs ? LISTEN_FD : undefined
}
