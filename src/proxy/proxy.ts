/**
 * The per-disk process: an NBD server over one disk, with a mirror that can be told to copy the
 * disk elsewhere. This is the control thread: it accepts clients and haggles with them, answers the
 * control socket and logs. Data moves in the data thread only, so nothing here can hold a request
 * up.
 */
import type { Socket } from 'node:net'
import { formatNbdUri, type NbdUri, parseNbdUri } from 'nbd-client-ts'
import type { Logger } from 'pino'
import { listenControl } from '../control/channel.ts'
import { Counters } from '../nbd/counters.ts'
import { exportInfo } from '../nbd/export-info.ts'
import type { TlsKeys } from '../tls/tls-context.ts'
import type { OpenedDisk } from './calls.ts'
import { Cleanup } from './cleanup.ts'
import { Clients } from './clients.ts'
import { controlHandlers } from './control-handlers.ts'
import { DataThread } from './data-thread.ts'
import { listen } from './listener.ts'
import type { ProxyOptions, Proxy as RunningProxy } from './options.ts'
import { rehearse, type Serve } from './rehearsal.ts'
import { ServeError } from './serve-error.ts'
import { connectTarget } from './target.ts'
import { readTlsKeys } from './tls-keys.ts'

/** How long a soft shutdown waits for requests under way. */
export const STOP_DEADLINE_MS = 10_000

/** Serves a disk. Rejects with `ServeError` when it cannot, having left nothing behind. */
export async function startProxy(options: ProxyOptions, log: Logger): Promise<RunningProxy> {
  return await start(options, log, async () => {})
}

/**
 * The same, but all that takes no disk is made ready at once, and tried on a scratch file; the disk
 * is opened when `turn`, which is called then, has settled.
 */
export async function startStandby(
  options: ProxyOptions,
  log: Logger,
  turn: () => Promise<void>,
): Promise<RunningProxy> {
  return await start(options, log, async threads => {
    const serve: Serve = (rehearsed, cleanup) => serveDisk(rehearsed, threads, cleanup)
    const close = () => threads.data.call('close', undefined)
    const failed = (error: Error) => log.warn({ err: error }, 'rehearsal failed')
    await rehearse(options, serve, close).catch(failed)
    await turn()
  })
}

interface Threads {
  readonly data: DataThread
  readonly clients: Clients
  readonly log: Logger
}

async function start(
  options: ProxyOptions,
  log: Logger,
  prepare: (threads: Threads) => Promise<void>,
): Promise<RunningProxy> {
  const cleanup = new Cleanup()
  try {
    const data = new DataThread({
      connectTarget,
      log: ({ level, message, fields }) => log[level](fields, message),
    })
    const clients = new Clients(data, log, options.connectionsMax)
    // Last, when the data thread has let go of them and what it said is on its way.
    cleanup.defer(() => clients.close())
    cleanup.defer(() => data.stop(STOP_DEADLINE_MS))
    await prepare({ data, clients, log })
    const { disk, listening } = await serveDisk(options, { data, clients, log }, cleanup)
    const { isDirect, engineReason, dirtyBytes } = disk
    log.info({ listening, engine: disk.engine, engineReason, isDirect, dirtyBytes }, 'serving')
    return running(data, cleanup, listening, log)
  } catch (error) {
    await cleanup.run().catch(late => log.warn({ err: late }, 'clean-up failed'))
    throw error
  }
}

/** Opens the disk and listens; `cleanup` ends the listening and leaves the disk open. */
async function serveDisk(
  options: ProxyOptions,
  { data, clients, log }: Threads,
  cleanup: Cleanup,
): Promise<{ disk: OpenedDisk; listening: readonly string[] }> {
  const uris = options.listen.map(uri => parseNbdUri(uri, { portMin: 0 }))
  const tlsKeys = tlsKeysFor(uris, options.tlsPskFile)
  const counters = new Counters()
  const { path, readOnly, held, direct, engine, bitmap, exportName } = options
  const disk = await data
    .call('open', { path, readOnly, held, direct, engine, bitmap, counters: counters.buffer })
    .catch((error: Error) => {
      throw new ServeError(error.message, error)
    })
  if (options.control !== undefined) {
    const handlers = controlHandlers(data, counters, options, disk)
    const control = await listenControl(options.control, handlers, log)
    cleanup.defer(() => control.close())
  }
  const exports = new Map([[exportName, exportInfo(disk.info, options.description)]])
  const negotiation = { exports, defaultExport: exportName, tlsKeys }
  const accepted = (socket: Socket) => clients.accept(socket, negotiation)
  const acceptFailed = (error: Error) =>
    log.warn({ err: error }, 'client turned away by the system')
  const listening: string[] = []
  for (const uri of uris) {
    const listener = await listen(uri, accepted, acceptFailed)
    cleanup.defer(() => listener.close())
    listening.push(formatNbdUri({ ...listener.uri, exportName }))
  }
  return { disk, listening }
}

function running(
  data: DataThread,
  cleanup: Cleanup,
  listening: readonly string[],
  log: Logger,
): RunningProxy {
  let stopping: Promise<void> | undefined
  const stop = (): Promise<void> => {
    stopping ??= cleanup.run().catch(error => log.error({ err: error }, 'stop was not clean'))
    return stopping
  }
  const stopped = data.ended.then(
    () => stop(),
    async error => {
      log.fatal({ err: error }, 'data thread failed')
      await stop()
      throw error
    },
  )
  return { listening, stop, stopped }
}

/** The keys in the file; with keys every address uses TLS, without none can. */
function tlsKeysFor(uris: readonly NbdUri[], file: string | undefined): TlsKeys | undefined {
  if (file === undefined && uris.some(uri => uri.tls)) {
    throw new ServeError('nbds needs keys: give --tls-psk FILE, or listen on nbd://')
  }
  if (file !== undefined && !uris.every(uri => uri.tls)) {
    throw new ServeError('with --tls-psk every address must be nbds:// or nbds+unix://')
  }
  return file === undefined ? undefined : readTlsKeys(file)
}
