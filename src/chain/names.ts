/**
 * Names of what a disk path makes, in the kernel and in the run folder. From them alone everything
 * can be found again after a crash.
 */
import { join } from 'node:path'
import { DiskPathError } from './disk-path.ts'

export interface ChainNames {
  /** Through this device alone the proxy reaches the disk. */
  readonly fence: string
  /** Keeps the guest's requests while no proxy can take them. */
  readonly multipath: string
  /** The disk once more, below `multipath`, when there is to be no proxy any more. */
  readonly bypass: string
  /** Of the kernel's nbd device. */
  readonly identifier: string
  readonly control: string
  readonly nbd: string
  readonly bitmap: string
  readonly log: string
  readonly record: string
}

const PREFIX = 'blkferry'
/** With it a socket's path stays below the 108 bytes that the kernel has for it. */
const NAME_MAX = 64

/** Throws DiskPathError `device` for a name that a device or a file cannot have. */
export function chainNames(session: string, disk: string, runFolder: string): ChainNames {
  const name = `${session}-${disk}`
  const isWord = [session, disk].every(word => /^[A-Za-z0-9_-]+$/.test(word))
  if (!isWord || name.length > NAME_MAX) {
    const rule = `letters, digits, - and _, together at most ${NAME_MAX} characters`
    throw new DiskPathError('device', `session and disk "${name}" must be ${rule}`)
  }
  const device = `${PREFIX}-${name}`
  const file = (extension: string): string => join(runFolder, `${name}.${extension}`)
  return {
    fence: `${device}-fence`,
    multipath: `${device}-mp`,
    bypass: `${device}-bypass`,
    identifier: device,
    control: file('control'),
    nbd: file('nbd'),
    bitmap: file('bitmap'),
    log: file('log'),
    record: file('path'),
  }
}

/** Files that an ended disk path does not leave; `keepsLog`: something has gone wrong. */
export function filesOf(names: ChainNames, keepsLog = false): string[] {
  const { control, nbd, bitmap, record, log } = names
  return [control, nbd, bitmap, record, ...(keepsLog ? [] : [log])]
}

/** Whether a device of this name is one that a disk path made. */
export function isChainDevice(name: string): boolean {
  return name.startsWith(`${PREFIX}-`) && /-(fence|mp|bypass)$/.test(name)
}
