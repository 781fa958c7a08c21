/** The first phase at the source: both hosts get ready, and the proxies come into the paths. */
import { randomBytes } from 'node:crypto'
import type { DiskPath } from '../chain/disk-path.ts'
import type { MigrateStartParams, Prepared } from './messages.ts'
import type { Peer } from './peer.ts'
import type { FoundGuest } from './preflight.ts'
import type { SessionContext, SessionFolder } from './session-context.ts'
import { targetOf } from './session-record.ts'
import { SourceDisk } from './source-disk.ts'
import { settleAll } from './turns.ts'

/** The daemon there may have to be started first. */
const PREPARE_MS_MAX = 240_000
/** Bytes of a dirty bit. */
const GRANULARITY = 64 * 1024

export interface SetUpOptions {
  readonly context: SessionContext
  readonly session: string
  readonly guest: FoundGuest
  readonly params: MigrateStartParams
  readonly peer: Peer
  readonly folder: SessionFolder
  /** Of the disk's number. */
  readonly replaced: (index: number, reason: string) => void
  readonly lost: (index: number, reason: string) => void
}

/** Disks that are not in the path yet, and what puts each of them there. */
export interface SetUp {
  readonly disks: readonly SourceDisk[]
  start(): Promise<void>
}

/** Looks at everything, and lets the destination get ready; the guest's paths are untouched. */
export async function setUp(options: SetUpOptions): Promise<SetUp> {
  const { session, guest, params, peer, folder, context } = options
  const paths = await openPaths(options)
  const key = params.isInsecure ? '' : randomBytes(32).toString('hex')
  const wanted = guest.disks.map((found, index) => ({
    vdev: found.vdev,
    disk: targetOf(found),
    blockSize: found.blockSize,
    epoch: found.epoch,
    size: paths[index]!.size,
  }))
  const { domain } = guest
  const prepare = { session, domain, source: context.host.name, key, disks: wanted }
  const prepared = await peer.call('peer-prepare', prepare, { timeoutMs: PREPARE_MS_MAX })
  const places = await placesOf(options, prepared)
  const keyFile = params.isInsecure ? undefined : folder.writeKey(session, key)
  const disks = guest.disks.map((found, index) => new SourceDisk(found, paths[index]!))
  const { copyMode, bandwidth, stallMs, reconnectSeconds } = params
  const start = async (): Promise<void> => {
    for (const { disk, device, isPrepared } of guest.disks) {
      if (!isPrepared) await context.host.plainDevices.keep(disk, device)
    }
    await settleAll(
      disks.map((disk, index) =>
        disk.start({
          target: targetUri(places[index]!, params.isInsecure ? '' : session),
          copyMode,
          bandwidth,
          granularity: GRANULARITY,
          stallMs,
          reconnectSeconds,
          ...(keyFile !== undefined && { tlsPskFile: keyFile }),
        }),
      ),
    )
  }
  return { disks, start }
}

function openPaths(options: SetUpOptions): Promise<DiskPath[]> {
  const { session, guest, context, replaced, lost } = options
  const { host, log } = context
  return Promise.all(
    guest.disks.map(({ device, vdev: disk }, index) => {
      const events = {
        replaced: (reason: string): void => replaced(index, reason),
        lost: (reason: string): void => lost(index, reason),
      }
      return host.openDiskPath({ device, session, disk, events, log })
    }),
  )
}

interface ExportPlace {
  readonly name: string
  /** `host:port`; empty with a socket of this host. */
  readonly authority: string
  readonly socketPath?: string
}

/** Where each export is reached from here. */
async function placesOf(
  { params, peer, folder }: SetUpOptions,
  { exports }: Prepared,
): Promise<ExportPlace[]> {
  if (params.isTunnelled === true) {
    return await Promise.all(
      exports.map(async ({ port, name }, index) => {
        const socketPath = folder.file(`tunnel-${index}`)
        await peer.tunnel(socketPath, port)
        return { name, authority: '', socketPath }
      }),
    )
  }
  const address = params.address ?? (await peer.address())
  const host = address.includes(':') ? `[${address}]` : address
  return exports.map(({ port, name }) => ({ name, authority: `${host}:${port}` }))
}

/** `identity`: of the key; empty: without TLS. */
function targetUri({ name, authority, socketPath }: ExportPlace, identity: string): string {
  const scheme = `nbd${identity === '' ? '' : 's'}${socketPath === undefined ? '' : '+unix'}`
  const user = identity === '' ? '' : `${encodeURIComponent(identity)}@`
  const query = socketPath === undefined ? '' : `?socket=${encodeURIComponent(socketPath)}`
  return `${scheme}://${user}${authority}/${encodeURIComponent(name)}${query}`
}
