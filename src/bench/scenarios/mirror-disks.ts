/**
 * What all mirror scenarios begin with: a source disk, a target that is served, and a key for TLS.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cleanup } from '../cleanup.ts'
import { type Filling, makeDisk } from '../measure/disks.ts'
import type { MirrorSource, MirrorTarget } from '../measure/mirror-source.ts'
import { type ServerName, startServer, type TlsKey } from '../measure/servers.ts'
import type { Service } from '../measure/service.ts'

/** No mirror here takes longer unless it hangs. */
export const READY_MS_MAX = 60_000

let made = 0

export interface ServedTarget extends MirrorTarget {
  readonly path: string
  readonly service: Service
}

export interface TargetOptions {
  readonly size: number
  /**
   * `full`, as a disk is that has its blocks: the first use of a page of memory takes some machines
   * longer than to copy it, and who comes soon after it was freed is served sooner.
   */
  readonly filling: Filling
  readonly server?: ServerName
  readonly tls?: TlsKey | undefined
}

/** A disk of `size` bytes in `folder`, served until the end of `scope`. */
export async function serveTarget(
  scope: Cleanup,
  folder: string,
  { size, filling, server = 'nbdkit', tls }: TargetOptions,
): Promise<ServedTarget> {
  made += 1
  const path = join(folder, `target-${made}.img`)
  await makeDisk(path, size, filling)
  scope.defer(() => rm(path, { force: true }))
  const socket = join(folder, `target-${made}`)
  const service = scope.use(await startServer(server, { path, socket, tls }))
  return { path, service, socket: service.socket, tls }
}

/** A pre-shared key in the file that all of them read. */
export async function makeKey(folder: string): Promise<TlsKey> {
  const identity = 'bench'
  const keys = join(folder, 'keys')
  const file = join(keys, 'keys.psk')
  await mkdir(keys, { recursive: true })
  await writeFile(file, `${identity}:${randomBytes(32).toString('hex')}\n`, { mode: 0o600 })
  return { identity, folder: keys, file }
}

/** Waits until nothing is dirty; the guest must not be writing. */
export async function settle(source: MirrorSource): Promise<void> {
  for (let waited = 0; (await source.dirtyBytes()) > 0 && waited < READY_MS_MAX; waited += 10) {
    await sleep(10)
  }
}
