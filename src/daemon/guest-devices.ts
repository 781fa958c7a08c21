/**
 * The guests' devices: for each disk a device-mapper device of one linear mapping, so that a
 * migration can put something else below a guest that runs. A file gets a loop device with direct
 * I/O in between. Names follow from the disk alone: a device is found again after any crash.
 */
import { createHash } from 'node:crypto'
import {
  accessSync,
  constants,
  existsSync,
  readdirSync,
  readFileSync,
  type Stats,
  statSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ControlError } from '../control/control-error.ts'
import type { DeviceMapper, DmDevice } from '../host/device-mapper.ts'
import { deviceNode } from '../host/dm-node.ts'
import { logicalBlockSize, numbersOfNode } from '../host/dm-swap.ts'
import { linearTable, SECTOR_BYTES, tableLength } from '../host/dm-table.ts'
import { runCommand } from '../host/run-command.ts'
import { pathOfDisk } from './disk-table.ts'
import type { DiskPlace, GuestDevice, GuestDevices } from './host.ts'

/** blkback lets go of a device some time after xenstore says so (ms). */
const REMOVE_MS_MAX = 8000
const KEPT_POLL_MS = 100
const UUID_PREFIX = 'BLKFERRY-guest-'
const LOSETUP_MS_MAX = 10_000

const refuse = (problem: string, cause?: unknown) => ControlError.refuse('refused', problem, cause)

export class DmGuestDevices implements GuestDevices {
  readonly #mapper: DeviceMapper
  readonly #table: string | undefined

  constructor(mapper: DeviceMapper, options: { readonly diskTable?: string } = {}) {
    this.#mapper = mapper
    this.#table = options.diskTable
  }

  async place(disk: string): Promise<DiskPlace> {
    const path = pathOfDisk(disk, this.#table)
    const stats = statSync(path, { throwIfNoEntry: false })
    if (stats === undefined) {
      throw refuse(`disk ${disk}: ${path} does not exist: make it, or correct the table of disks`)
    }
    if (stats.isFile()) {
      const size = stats.size - (stats.size % SECTOR_BYTES)
      if (size === 0) throw refuse(`disk ${disk}: ${path} is empty: make it as large as the disk`)
      return { path, isFile: true, size, blockSize: SECTOR_BYTES, isReadOnly: !isWritable(path) }
    }
    if (!stats.isBlockDevice()) {
      throw refuse(`disk ${disk}: ${path} is no block device and no file: correct the table`)
    }
    const numbers = numbersOfNode(path)
    const size = sectorsOf(numbers) * SECTOR_BYTES
    const isReadOnly = attributeOf(numbers, 'ro') !== 0
    return { path, isFile: false, size, blockSize: logicalBlockSize(path), isReadOnly, numbers }
  }

  identityOf(disk: string): string | undefined {
    try {
      return identityOfPath(pathOfDisk(disk, this.#table))
    } catch (error) {
      // No line in the table any more.
      if (error instanceof ControlError) return undefined
      throw error
    }
  }

  async find(disk: string): Promise<GuestDevice | undefined> {
    const device = await this.#mapper.find(nameOfDevice(disk))
    if (device === undefined) return undefined
    if (device.uuid !== uuidOf(disk)) {
      const problem = `device ${device.name} has been made by something else`
      throw refuse(`disk ${disk}: ${problem}: rename it or remove it`)
    }
    return guestDeviceOf(device)
  }

  async make(disk: string, size?: number): Promise<GuestDevice> {
    const place = await this.place(disk)
    const length = Math.floor((size ?? place.size) / SECTOR_BYTES)
    if (length * SECTOR_BYTES > place.size) {
      throw refuse(`disk ${disk}: ${place.path} has ${place.size} bytes, ${size} are needed`)
    }
    await this.#untilKept(disk)
    const found = await this.find(disk)
    if (found !== undefined) {
      const there = tableLength(await this.#mapper.table(found.name))
      if (there === length) return found
      throw refuse(`disk ${disk}: its device has ${there} sectors and not ${length}: remove it`)
    }
    const below = place.isFile ? await attachLoop(place.path) : numbersOfNode(place.path)
    try {
      const table = linearTable(below, length)
      const name = nameOfDevice(disk)
      return guestDeviceOf(await this.#mapper.create(name, table, { uuid: uuidOf(disk) }))
    } catch (error) {
      if (place.isFile) await detachLoops(place.path)
      const problem = `${place.path} cannot be used: ${(error as Error).message}`
      throw refuse(`disk ${disk}: ${problem}`, error)
    }
  }

  /** One that goes away with its last opener is not given to the next. */
  async #untilKept(disk: string): Promise<void> {
    for (let waited = 0; ; waited += KEPT_POLL_MS) {
      const device = await this.#mapper.find(nameOfDevice(disk))
      if (device?.isRemovedOnClose !== true) return
      if (waited >= REMOVE_MS_MAX) {
        throw refuse(`disk ${disk} is still in use by the guest that had it: try again later`)
      }
      await sleep(KEPT_POLL_MS)
    }
  }

  async remove(disk: string): Promise<void> {
    const found = await this.find(disk)
    if (found !== undefined) {
      await this.#mapper.remove(found.name, { waitMs: REMOVE_MS_MAX, deferred: true })
    }
    const path = pathOfDisk(disk, this.#table)
    if (statSync(path, { throwIfNoEntry: false })?.isFile()) await detachLoops(path)
  }

  async userOf(disk: string): Promise<string | undefined> {
    const { path, isFile } = await this.place(disk)
    const own = await this.find(disk)
    if (isFile) {
      const loops = own === undefined ? await loopsOf(path) : []
      return loops.length === 0 ? undefined : `loop device ${loops.join(', ')}`
    }
    const numbers = numbersOfNode(path)
    const holders = holdersOf(numbers).filter(name => name !== `dm-${own?.minor}`)
    if (holders.length > 0) return holders.map(name => `/dev/${name}`).join(', ')
    return mountOf(numbers)
  }
}

/** The device or file that a path leads to; undefined if it leads nowhere, as in a circle. */
export function identityOfPath(path: string): string | undefined {
  let stats: Stats
  try {
    stats = statSync(path)
  } catch {
    // Of another disk, maybe: the starts of all guests must not fail for it.
    return undefined
  }
  return stats.isBlockDevice() ? `device ${stats.rdev}` : `file ${stats.dev}:${stats.ino}`
}

/** Readable, and one for each disk, within the 127 characters that the kernel allows. */
export function nameOfDevice(disk: string): string {
  return `blkferry-${disk.replaceAll(/[^A-Za-z0-9_.]+/g, '-').slice(-60)}-${hashOf(disk)}`
}

const uuidOf = (disk: string): string => `${UUID_PREFIX}${hashOf(disk)}`

const hashOf = (disk: string): string =>
  createHash('sha256').update(disk).digest('hex').slice(0, 12)

function guestDeviceOf(device: DmDevice): GuestDevice {
  const { name, major, minor } = device
  return { name, node: deviceNode(device), major, minor }
}

const sectorsOf = (numbers: string): number => attributeOf(numbers, 'size')

function attributeOf(numbers: string, name: 'size' | 'ro'): number {
  return Number(readFileSync(`/sys/dev/block/${numbers}/${name}`, 'utf8'))
}

/** On a file system that is mounted read-only nothing is. */
function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function holdersOf(numbers: string): string[] {
  const folder = `/sys/dev/block/${numbers}/holders`
  return existsSync(folder) ? readdirSync(folder) : []
}

/** Where a file system on it is mounted. */
function mountOf(numbers: string): string | undefined {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  const line = lines.find(one => one.split(' ')[2] === numbers)
  return line === undefined ? undefined : `a file system at ${line.split(' ')[4]}`
}

async function loopsOf(path: string): Promise<string[]> {
  const argv = ['losetup', '--list', '--noheadings', '--output', 'NAME', '--associated', path]
  const { stdout } = await runCommand(argv as [string, ...string[]], { timeoutMs: LOSETUP_MS_MAX })
  return stdout
    .split('\n')
    .map(line => line.trim())
    .filter(Boolean)
}

/** `major:minor` of a loop device on the file. */
async function attachLoop(path: string): Promise<string> {
  const [first] = await loopsOf(path)
  if (first !== undefined) return numbersOfNode(first)
  const argv = ['losetup', '--find', '--show', '--direct-io=on', path] as const
  const { stdout } = await runCommand([...argv], { timeoutMs: LOSETUP_MS_MAX })
  return numbersOfNode(stdout.trim())
}

/** The kernel detaches a loop device that is still open with its last closer. */
async function detachLoops(path: string): Promise<void> {
  for (const loop of await loopsOf(path)) {
    await runCommand(['losetup', '--detach', loop], { timeoutMs: LOSETUP_MS_MAX })
  }
}
