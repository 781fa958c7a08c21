/**
 * Device-mapper, in the words of the job: make a device, swap its table, fence it, suspend, resume,
 * remove. One ioctl each, without a process start and without udev: nothing here waits for it or
 * needs the links it makes. Every call has a deadline, but a call that the kernel holds cannot be
 * taken back: after `timeout` it may still happen, so look at the device before the next step.
 */

import {
  DM_ACTIVE_PRESENT_FLAG,
  DM_BUFFER_FULL_FLAG,
  DM_DEFERRED_REMOVE,
  DM_HEADER_BYTES,
  DM_INACTIVE_PRESENT_FLAG,
  DM_NOFLUSH_FLAG,
  DM_QUERY_INACTIVE_TABLE_FLAG,
  DM_READONLY_FLAG,
  DM_SKIP_LOCKFS_FLAG,
  DM_STATUS_TABLE_FLAG,
  DM_SUSPEND_FLAG,
  type DmCommand,
  type DmListedDevice,
  type DmReply,
  type DmRequest,
  decodeDependencies,
  decodeDeviceList,
  decodeLines,
  decodeReply,
  encodeRequest,
  ioctlNumber,
} from './dm-codec.ts'
import { openControl } from './dm-control.ts'
import { DeviceMapperError } from './dm-error.ts'
import { formatMapping, parseMapping, type Table, type TableLine } from './dm-table.ts'

/** The device behind /dev/mapper/control; settles with the kernel's result or a negative errno. */
export interface DmControl {
  ioctl(request: number, bytes: Uint8Array): Promise<number>
  close(): void
}

export interface DmDevice {
  readonly name: string
  readonly uuid: string
  readonly major: number
  readonly minor: number
  readonly openCount: number
  readonly isSuspended: boolean
  readonly isReadOnly: boolean
  readonly hasTable: boolean
  /** A table is loaded and waits for a resume. */
  readonly hasLoadedTable: boolean
  /** It goes away with its last opener. */
  readonly isRemovedOnClose: boolean
}

export interface SuspendOptions {
  /** Do not wait for bios that a multipath table is holding: they go back to the queue. */
  readonly noFlush?: boolean
}

/** Longest wait for one ioctl unless the caller says otherwise (ms). */
export const DM_TIMEOUT_MS = 10_000
/** Room for an answer at first, and at most (bytes). */
const ANSWER_BYTES = 16 * 1024
const ANSWER_BYTES_MAX = 1024 * 1024
/** Between two tries to remove a device that somebody has open (ms). */
const REMOVE_RETRY_MS = 50
/**
 * udev's rules are to leave the device alone: no disk, subsystem or other rules, no links by hand.
 */
const UDEV_LEAVE_ALONE = (0x2 | 0x4 | 0x8 | 0x20) << 16

export class DeviceMapper {
  readonly #control: DmControl
  readonly #timeoutMs: number

  constructor(control: DmControl, timeoutMs: number = DM_TIMEOUT_MS) {
    this.#control = control
    this.#timeoutMs = timeoutMs
  }

  /** Throws DeviceMapperError `missing` where the kernel has no device-mapper. */
  static open(timeoutMs?: number): DeviceMapper {
    return new DeviceMapper(openControl(), timeoutMs)
  }

  close(): void {
    this.#control.close()
  }

  async version(): Promise<string> {
    return decodeReply(await this.#call('version', {})).version.join('.')
  }

  async list(): Promise<DmListedDevice[]> {
    return decodeDeviceList(await this.#ask('listDevices', {}))
  }

  /** Undefined if there is no such device. */
  async find(name: string): Promise<DmDevice | undefined> {
    try {
      return deviceOf(decodeReply(await this.#call('deviceStatus', { name })))
    } catch (error) {
      if (error instanceof DeviceMapperError && error.code === 'ENXIO') return undefined
      throw error
    }
  }

  async status(name: string): Promise<DmDevice> {
    const device = await this.find(name)
    if (device !== undefined) return device
    throw new DeviceMapperError('deviceStatus', name, 'ENXIO', 'there is no such device')
  }

  /** The live table; empty if there is none. */
  async table(name: string): Promise<Table> {
    const flags = DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG
    return decodeLines(await this.#ask('tableStatus', { name, flags })).map(parseMapping)
  }

  /** The table that is loaded and waits for a resume; empty if there is none. */
  async loadedTable(name: string): Promise<Table> {
    const flags = DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG | DM_QUERY_INACTIVE_TABLE_FLAG
    return decodeLines(await this.#ask('tableStatus', { name, flags })).map(parseMapping)
  }

  /** The live table, and whether another one is loaded, as of one moment. */
  async tables(name: string): Promise<{ readonly live: Table; readonly hasLoadedTable: boolean }> {
    const flags = DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG
    const answer = await this.#ask('tableStatus', { name, flags })
    const { hasLoadedTable } = deviceOf(decodeReply(answer))
    return { live: decodeLines(answer).map(parseMapping), hasLoadedTable }
  }

  /** What each mapping of the live table says of itself, as `dmsetup status` prints it. */
  async mappingStatus(name: string): Promise<TableLine[]> {
    return decodeLines(await this.#ask('tableStatus', { name, flags: DM_NOFLUSH_FLAG }))
  }

  /** `major:minor` of the devices that the live table stands on. */
  async dependencies(name: string): Promise<string[]> {
    return decodeDependencies(await this.#ask('tableDependencies', { name }))
  }

  /** Makes a device with this table, live; on failure there is none. */
  async create(name: string, table: Table, options: { uuid?: string } = {}): Promise<DmDevice> {
    const { uuid = '' } = options
    await this.#call('deviceCreate', { name, uuid })
    try {
      await this.load(name, table)
      await this.#call('deviceSuspend', { name, eventNumber: UDEV_LEAVE_ALONE })
      return await this.status(name)
    } catch (error) {
      await this.#attempt(error, () => this.remove(name))
      throw error
    }
  }

  /** Prepares a table; the live one stays until the next resume. */
  async load(name: string, table: Table): Promise<void> {
    await this.#call('tableLoad', { name, lines: table.map(formatMapping) })
  }

  /** Drops a table that was prepared. */
  async clear(name: string): Promise<void> {
    await this.#call('tableClear', { name })
  }

  /** Waits for bios in flight, parks later ones. Harmless on a device that is suspended. */
  async suspend(name: string, options: SuspendOptions = {}): Promise<void> {
    await this.#call('deviceSuspend', { name, flags: DM_SUSPEND_FLAG | suspendFlags(options) })
  }

  /**
   * A prepared table becomes live, parked bios go on. Harmless on a device that is not suspended.
   */
  async resume(name: string, options: SuspendOptions = {}): Promise<void> {
    await this.#call('deviceSuspend', { name, flags: suspendFlags(options) })
  }

  /**
   * Removes the device; `waitMs`: how long to try again while somebody has it open, `deferred`:
   * after that leave it to the last close. Bios that a suspended device holds are in the way:
   * resume first.
   */
  async remove(
    name: string,
    options: { readonly waitMs?: number; readonly deferred?: boolean } = {},
  ): Promise<void> {
    const tries = Math.ceil((options.waitMs ?? 0) / REMOVE_RETRY_MS)
    for (let tried = 0; ; tried++) {
      try {
        await this.#call('deviceRemove', { name })
        return
      } catch (error) {
        const isBusy = error instanceof DeviceMapperError && error.code === 'EBUSY'
        if (!isBusy) throw error
        if (tried < tries) {
          await new Promise(resolve => setTimeout(resolve, REMOVE_RETRY_MS))
        } else if (options.deferred) {
          await this.#call('deviceRemove', { name, flags: DM_DEFERRED_REMOVE })
          return
        } else {
          throw error
        }
      }
    }
  }

  /** Runs `cleanUp` because of `error`; what fails there is attached, and does not replace it. */
  async #attempt(error: unknown, cleanUp: () => Promise<void>): Promise<void> {
    try {
      await cleanUp()
    } catch (second) {
      if (error instanceof DeviceMapperError) error.cleanUpErrors.push(second)
    }
  }

  /** A command with an answer of unknown length. */
  async #ask(command: DmCommand, request: DmRequest): Promise<Uint8Array> {
    for (let room = ANSWER_BYTES; room <= ANSWER_BYTES_MAX; room *= 4) {
      const bytes = await this.#call(command, { ...request, bufferBytes: room })
      if ((decodeReply(bytes).flags & DM_BUFFER_FULL_FLAG) === 0) return bytes
    }
    throw new DeviceMapperError(command, request.name, 'ENOBUFS', 'the answer has over 1 MiB')
  }

  async #call(command: DmCommand, request: DmRequest): Promise<Uint8Array> {
    const bytes = encodeRequest({ bufferBytes: DM_HEADER_BYTES, ...request })
    // The kernel waits interruptibly; a stray signal is no answer.
    for (;;) {
      const result = await this.#deadline(command, request, bytes)
      if (result >= 0) return bytes
      const error = DeviceMapperError.fromErrno(command, request.name, result)
      if (error.code !== 'EINTR') throw error
    }
  }

  #deadline(command: DmCommand, request: DmRequest, bytes: Uint8Array): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const problem = `no answer in ${this.#timeoutMs} ms; I/O below may be stuck`
        reject(new DeviceMapperError(command, request.name, 'timeout', problem))
      }, this.#timeoutMs)
      this.#control
        .ioctl(ioctlNumber(command), bytes)
        .then(resolve, reject)
        .finally(() => clearTimeout(timer))
    })
  }
}

/** No file system of this host lives on these devices, so there is nothing to freeze. */
function suspendFlags({ noFlush = false }: SuspendOptions): number {
  return DM_SKIP_LOCKFS_FLAG | (noFlush ? DM_NOFLUSH_FLAG : 0)
}

function deviceOf(reply: DmReply): DmDevice {
  const has = (flag: number): boolean => (reply.flags & flag) !== 0
  return {
    name: reply.name,
    uuid: reply.uuid,
    major: reply.major,
    minor: reply.minor,
    openCount: reply.openCount,
    isSuspended: has(DM_SUSPEND_FLAG),
    isReadOnly: has(DM_READONLY_FLAG),
    hasTable: has(DM_ACTIVE_PRESENT_FLAG),
    hasLoadedTable: has(DM_INACTIVE_PRESENT_FLAG),
    isRemovedOnClose: has(DM_DEFERRED_REMOVE),
  }
}
