/**
 * A disk that is served to a guest and can be mirrored meanwhile: ours, or the peer's. Scenarios
 * speak to this interface only, so that both sides are asked for the same thing in the same way.
 */
import { join } from 'node:path'
import { OwnSource } from './own-source.ts'
import { QemuSource } from './qemu-source.ts'
import type { TlsKey } from './servers.ts'

export type MirrorSubject = 'blkferry' | 'qemu mirror' | 'qemu blocking'

export interface MirrorTarget {
  /** Unix socket of an NBD server, for its default export. */
  readonly socket: string
  readonly tls?: TlsKey | undefined
}

export interface MirrorSource extends AsyncDisposable {
  /** For the guest. */
  readonly uri: string
  readonly pid: number
  /** Connects to the target and begins. */
  start(target: MirrorTarget): Promise<void>
  /** Resolves when the mirror is ready; rejects if it fails, or after `timeoutMs`. */
  ready(timeoutMs: number): Promise<void>
  dirtyBytes(): Promise<number>
  /**
   * Ends a ready mirror with both disks equal. Resolves with how long that took in milliseconds, by
   * the implementation's own clock.
   */
  complete(): Promise<number>
}

export interface SourceOptions {
  readonly path: string
  readonly folder: string
  /** Only ours has a choice beside the subject's name; auto is what users get. */
  readonly copyMode?: 'auto' | 'write-blocking'
}

let started = 0

export async function startSource(
  subject: MirrorSubject,
  { path, folder, copyMode = 'auto' }: SourceOptions,
): Promise<MirrorSource> {
  started += 1
  const socket = join(folder, `source-${started}`)
  if (subject === 'blkferry') return await OwnSource.serve({ path, socket, copyMode })
  const mode = subject === 'qemu mirror' ? 'background' : 'write-blocking'
  return await QemuSource.serve({ path, socket, copyMode: mode })
}
