/**
 * What the daemon needs of the machine that it runs on, as parameters: the real parts are in
 * `real-host.ts`, tests have others. Nothing here knows of sessions or of roles.
 */
import type { Logger } from 'pino'
import type { DiskPath, DiskPathOptions } from '../chain/disk-path.ts'
import type { Leftover } from '../chain/leftovers.ts'
import type { Domain } from '../host/xl.ts'
import type { ExportPorts } from './export-ports.ts'

/** Where the bytes of a disk are on this host. */
export interface DiskPlace {
  readonly path: string
  readonly isFile: boolean
  /** Bytes. */
  readonly size: number
  /** Logical blocks, bytes. */
  readonly blockSize: number
  /** Nobody can write to it, root included. */
  readonly isReadOnly: boolean
  /** `major:minor` of a block device. */
  readonly numbers?: string
}

/** The device that a guest has: one table on top of the disk's place. */
export interface GuestDevice {
  readonly name: string
  /** As /dev/dm-3. */
  readonly node: string
  readonly major: number
  readonly minor: number
}

export interface GuestDevices {
  /** Throws `ControlError` refused: the disk is not known here, or is not there. */
  place(disk: string): Promise<DiskPlace>
  /** The same for two names of one device or file; undefined if there is none. */
  identityOf(disk: string): string | undefined
  find(disk: string): Promise<GuestDevice | undefined>
  /** Makes it, or finds it; `size`: if it is to be smaller than the place. */
  make(disk: string, size?: number): Promise<GuestDevice>
  /** Harmless if there is none. */
  remove(disk: string): Promise<void>
  /** What of this host uses the place, other than the guest's device; undefined if nothing does. */
  userOf(disk: string): Promise<string | undefined>
}

/**
 * Devices that blkferry has not made, as logical volumes: a guest of the stock hotplug script runs
 * on one that is given by its path. After a hand-over it fails every request, so that nobody can
 * start the guest on it here again: the stock script asks nobody who owns the disk.
 */
export interface PlainDevices {
  /** Name of the device-mapper device of these numbers, `major:minor`; undefined if it is none. */
  find(numbers: string): Promise<string | undefined>
  /** Why nothing can be put under it, as under a thin volume; undefined if it can. */
  obstacleOf(device: string): Promise<string | undefined>
  /** Writes down what it is made of. Throws, and nothing was written. */
  keep(disk: string, device: string): Promise<void>
  /** It was left as it had been found. Harmless if there is nothing to forget. */
  forget(disk: string): void
  /** Makes it what it was when it was kept. Harmless if it is that, or is gone. */
  restore(disk: string): Promise<void>
}

export interface Xenstore {
  read(path: string): Promise<string | undefined>
  write(values: Readonly<Record<string, string>>): Promise<void>
  /** Everything below with absolute paths; empty if there is nothing. */
  tree(path: string): Promise<ReadonlyMap<string, string>>
  /** Calls `changed` whenever something changes there, and once at first. */
  watch(path: string, changed: () => void): { close(): Promise<void> }
}

export interface Toolstack {
  /** `xl` and the words that come before any of its commands. */
  readonly xl: readonly [string, ...string[]]
  /** By name, even if that is all digits. */
  find(name: string): Promise<Domain | undefined>
  findById(domid: number): Promise<Domain | undefined>
  list(): Promise<Domain[]>
  rename(domid: number, name: string): Promise<void>
  /** Harmless if it is gone. */
  destroy(domid: number): Promise<void>
  unpause(domid: number): Promise<void>
  /** A guest that is suspended goes on; harmless if it is not. */
  resume(domid: number): Promise<void>
}

export interface Host {
  /** How this host calls itself. */
  readonly name: string
  /** What runs blkferry here, and what runs it at the other host. */
  readonly command: readonly [string, ...string[]]
  readonly remoteCommand: readonly [string, ...string[]]
  /** On tmpfs, for root alone. */
  readonly runFolder: string
  readonly devices: GuestDevices
  readonly plainDevices: PlainDevices
  readonly xenstore: Xenstore
  readonly toolstack: Toolstack
  readonly exportPorts: ExportPorts
  openDiskPath(
    options: Pick<DiskPathOptions, 'device' | 'session' | 'disk' | 'events' | 'log'>,
  ): Promise<DiskPath>
  findLeftovers(log: Logger): Promise<Leftover[]>
  cleanUp(leftover: Leftover, outcome: 'restore' | 'discard', log: Logger): Promise<void>
}
