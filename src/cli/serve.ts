/**
 * The per-disk process: prints one line once it really listens, logs to stderr, and serves until a
 * signal asks it to stop. The first one lets requests under way finish, within a deadline; the
 * second one does not.
 */
import { Socket } from 'node:net'
import { resolve } from 'node:path'
import { type Logger, pino } from 'pino'
import type { ProxyOptions, Proxy as RunningProxy } from '../proxy/options.ts'
import { type Context, defineCommand } from './command.ts'
import { CommandFailure, EXIT, type ExitCode, UsageError } from './exit-codes.ts'
import {
  choice,
  flag,
  integer,
  listenUri,
  nbdText,
  optional,
  repeated,
  text,
  withDefault,
} from './options.ts'
import { startFailure } from './start-failure.ts'

/** How long clients' requests may take to finish after the first signal. */
export const STOP_MS_MAX = 15_000

export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

export type StartProxy = (options: ProxyOptions, log: Logger) => Promise<RunningProxy>

const options = {
  listen: repeated(listenUri, 'where clients connect; TCP port 0 takes a free one'),
  control: optional(text('SOCK'), 'make a control socket there, for status and mirror'),
  'read-only': flag('refuse writes'),
  export: withDefault(nbdText('NAME'), '', 'name of the export; the default export without it'),
  description: withDefault(nbdText('TEXT'), '', 'text that clients see beside the name'),
  engine: withDefault(
    choice(['auto', 'uring', 'libuv']),
    'auto',
    'how I/O is done: io_uring, or libuv where the kernel has no io_uring',
  ),
  direct: withDefault(choice(['auto', 'on', 'off']), 'auto', 'O_DIRECT, past the page cache'),
  held: flag('the block device is held by device-mapper already: do not ask for it exclusively'),
  bitmap: optional(
    text('FILE'),
    'keep the dirty bitmap there, best on tmpfs, so that a mirror goes on after a crash',
  ),
  'tls-psk': optional(
    text('FILE'),
    'file of pre-shared keys for nbds URIs, identity:hexadecimal a line, as of psktool',
  ),
  standby: optional(
    integer(3, 1024),
    'number of an open socket: load everything, say so there, and open the disk when told there',
  ),
  'max-connections': withDefault(integer(1, 1024), '64', 'clients at one time'),
  'log-level': withDefault(choice(LOG_LEVELS), 'info', 'log to stderr from this level up'),
}

export const serveCommand = defineCommand({
  name: 'serve',
  summary: 'serve a disk over NBD',
  details:
    'Prints one line with the URIs once it listens. On SIGTERM or SIGINT requests under way are ' +
    'finished first; a second signal ends it at once.',
  positionals: [{ name: 'PATH', help: 'the disk, a block device or a file' }],
  options,
  examples: [
    'blkferry serve /dev/vg/guest --listen nbd://127.0.0.1 --control /run/guest.sock',
    'blkferry serve disk.img --listen nbd+unix:///?socket=/run/disk.sock --read-only',
    'blkferry serve /dev/vg/guest --listen nbds://0.0.0.0 --tls-psk /etc/psk',
  ],
  run: (values, context, [path = '']) => {
    const log = pino(
      { level: values['log-level'] },
      context.output.stderr as pino.DestinationStream,
    )
    const proxyOptions: ProxyOptions = {
      path,
      listen: values.listen,
      control: values.control,
      readOnly: values['read-only'],
      held: values.held,
      exportName: values.export,
      description: values.description,
      engine: values.engine,
      direct: values.direct,
      bitmap: values.bitmap === undefined ? undefined : resolve(values.bitmap),
      tlsPskFile: values['tls-psk'],
      connectionsMax: values['max-connections'],
    }
    const { standby } = values
    const start: StartProxy = (chosen, logger) =>
      standby === undefined
        ? startRealProxy(chosen, logger)
        : startRealStandby(chosen, logger, standby)
    return serve(proxyOptions, { context, log, start })
  },
})

/** Serves until stopped. `start` is a parameter for the tests' sake. */
export async function serve(
  proxyOptions: ProxyOptions,
  { context, log, start }: { context: Context; log: Logger; start: StartProxy },
): Promise<ExitCode> {
  checkTls(proxyOptions)
  const proxy = await start(proxyOptions, log).catch((error: unknown) => {
    const sentence = startFailure(error, proxyOptions)
    throw sentence === undefined ? error : new CommandFailure(EXIT.disk, sentence, error)
  })
  const { listening } = proxy
  const started = `serving ${proxyOptions.path} at ${listening.join(' ')}`
  // Who reads that it serves may stop it at once.
  const stopped = untilStopped(proxy, context, log)
  context.output.result({ listening, pid: process.pid }, started)
  return await stopped
}

async function untilStopped(proxy: RunningProxy, context: Context, log: Logger): Promise<ExitCode> {
  let restoreSignals = (): void => {}
  let deadline: NodeJS.Timeout | undefined
  const asked = new Promise<void>((resolved, rejected) => {
    restoreSignals = context.onSignal(signal => {
      if (deadline !== undefined) {
        log.warn({ signal }, 'second signal, exiting at once')
        context.exit(EXIT.failed)
        return
      }
      log.info({ signal }, 'stopping')
      const late = `requests did not finish within ${STOP_MS_MAX / 1000} s of ${signal}`
      const giveUp = () => rejected(new CommandFailure(EXIT.timeout, late))
      deadline = setTimeout(giveUp, STOP_MS_MAX)
      proxy.stop().then(resolved, rejected)
    })
  })
  try {
    await Promise.race([proxy.stopped, asked])
    return EXIT.ok
  } finally {
    clearTimeout(deadline)
    restoreSignals()
  }
}

/** A listener that the keys do not protect is a mistake as much as TLS without keys. */
function checkTls({ listen, tlsPskFile }: ProxyOptions): void {
  const secure = listen.find(uri => /^nbds/i.test(uri))
  const plain = listen.find(uri => !/^nbds/i.test(uri))
  if (tlsPskFile === undefined && secure !== undefined) {
    throw new UsageError(`--listen ${secure} needs --tls-psk FILE`)
  }
  if (tlsPskFile !== undefined && plain !== undefined) {
    throw new UsageError(`--tls-psk does not protect --listen ${plain}: use nbds or nbds+unix`)
  }
}

/** Loaded only here: the other commands start without the engines and their native parts. */
async function startRealProxy(proxyOptions: ProxyOptions, log: Logger): Promise<RunningProxy> {
  const { startProxy } = await import('../proxy/proxy.ts')
  return await startProxy(proxyOptions, log)
}

async function startRealStandby(
  proxyOptions: ProxyOptions,
  log: Logger,
  fd: number,
): Promise<RunningProxy> {
  const { startStandby } = await import('../proxy/proxy.ts')
  return await startStandby(proxyOptions, log, () => turnOn(fd))
}

/** Rejects if the socket closes first: whoever keeps us ready has gone. */
async function turnOn(fd: number): Promise<void> {
  const socket = new Socket({ fd, readable: true, writable: true })
  socket.write('ready\n')
  for await (const chunk of socket) {
    if (String(chunk).includes('\n')) return
  }
  throw new CommandFailure(EXIT.failed, 'whoever kept this proxy standing by has gone')
}
