/**
 * A guest's disk path for the time of a session: from its plain disk onto a proxy and back, below a
 * guest that runs and notices milliseconds. This file is what the rest of the project programs
 * against; `open-disk-path.ts` makes one.
 *
 *   plain:    guest's device --------------------------------------------> disk
 *   proxied:  guest's device -> mp -> /dev/nbdN -> proxy -> fence device -> disk
 *
 * A proxy that dies or hangs is replaced, and the mirror goes on with the bitmap it kept; if that
 * fails too, or the disk itself has an error to report, the guest is back on its plain disk and the
 * session is over.
 */
import type { Logger } from 'pino'
import type { Verb, Verbs } from '../control/messages.ts'
import type { DeviceMapper } from '../host/device-mapper.ts'
import type { KernelNbd } from '../host/kernel-nbd.ts'

/**
 * `plain`: on its disk, nothing of ours in between; before the start and after the end.
 * `proxied`: the proxy sees every request. `sealed`: suspended, nothing is in flight, what the
 * guest still sends is parked. `discarded`: every request fails, for ever.
 */
export type DiskPathState = 'plain' | 'proxied' | 'sealed' | 'discarded'

/** Called at most one at a time; must not throw. */
export interface DiskPathEvents {
  /** A new proxy is in the path and its mirror goes on; `reason`: what befell the old one. */
  replaced(reason: string): void
  /** The guest is on its plain disk, or will be when it is unsealed: the session cannot go on. */
  lost(reason: string): void
}

export interface DiskPathOptions {
  readonly mapper: DeviceMapper
  readonly nbd: KernelNbd
  /** The guest's device-mapper device: its name, or any path to it. */
  readonly device: string
  /** Names what is made, together with `disk`: letters, digits, `-` and `_`, 64 at most. */
  readonly session: string
  /** Which of the session's disks, as `xvda`. */
  readonly disk: string
  /** On tmpfs, for root alone; sockets, bitmap, record and log of the proxy are made there. */
  readonly runFolder: string
  /** What runs blkferry, before the word `serve`; as [node, main.js]. */
  readonly proxyCommand: readonly [string, ...string[]]
  readonly events: DiskPathEvents
  readonly log: Logger
}

export interface DiskPath {
  /** Name of the guest's device. */
  readonly device: string
  /** Bytes. */
  readonly size: number
  readonly state: DiskPathState

  /**
   * From `plain` to `proxied`. Throws DiskPathError, DeviceMapperError or NetlinkError; then the
   * guest is on its plain disk and nothing is left behind.
   */
  start(): Promise<void>

  /**
   * Asks the proxy, as `ControlClient.call` does; while the proxy is being replaced it waits for
   * the new one. A call that was under way when the proxy died rejects with `ControlError`
   * closed, and may be made again. The mirror that was started last is started again in a new
   * proxy, with all settings made since, without the caller's help.
   */
  call<V extends Verb>(
    verb: V,
    params: Verbs[V]['params'],
    options: { readonly timeoutMs: number },
  ): Promise<Verbs[V]['result']>

  /**
   * From `proxied` to `sealed`: when it settles nothing of the guest is in flight any more, at the
   * proxy neither, so that `mirror-complete` can follow. If it throws the state is `proxied`
   * still; call `unseal` to be sure that the guest goes on. DiskPathError `device`: somebody else
   * has changed the guest's device, and what was written since is in no copy.
   */
  seal(): Promise<void>

  /**
   * Back to `plain`: what was parked goes to the plain disk, or to what its owner has put there
   * meanwhile. Harmless if nothing is sealed.
   */
  unseal(): Promise<void>

  /**
   * From `sealed` to `discarded`: what is parked fails, so that blkback lets go of the device.
   */
  discard(): Promise<void>

  /**
   * Back to `plain` unless `discarded`, and removes everything that was made. Harmless if done
   * already; after an error it may be called again.
   */
  stop(): Promise<void>
}

/**
 * `device`: this device cannot be put under a proxy, or not now. `proxy`: it does not start or does
 * not answer. `state`: the call makes no sense in this state. `busy`: no nbd device is free.
 */
export type DiskPathErrorCode = 'device' | 'proxy' | 'state' | 'busy'

export class DiskPathError extends Error {
  override readonly name = 'DiskPathError'
  readonly code: DiskPathErrorCode
  /** What went wrong while undoing. */
  readonly cleanUpErrors: unknown[] = []

  constructor(code: DiskPathErrorCode, problem: string, cause?: unknown) {
    super(problem, { cause })
    this.code = code
  }
}
