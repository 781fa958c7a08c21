/**
 * Other people's device-mapper devices under guests. What one is made of is kept on tmpfs, where it
 * lives as long as the device does: after a reboot its owner, as LVM, makes it anew.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { obstacleIn } from '../chain/guest-device.ts'
import { writeRecord } from '../chain/record.ts'
import type { DeviceMapper } from '../host/device-mapper.ts'
import type { Table } from '../host/dm-table.ts'
import type { PlainDevices } from './host.ts'

interface PlainRecord {
  readonly disk: string
  /** Its name. */
  readonly device: string
  readonly table: Table
}

export class DmPlainDevices implements PlainDevices {
  readonly #mapper: DeviceMapper
  readonly #folder: string

  constructor(mapper: DeviceMapper, folder: string) {
    this.#mapper = mapper
    this.#folder = folder
  }

  async find(numbers: string): Promise<string | undefined> {
    const all = await this.#mapper.list()
    return all.find(({ major, minor }) => `${major}:${minor}` === numbers)?.name
  }

  async obstacleOf(device: string): Promise<string | undefined> {
    return obstacleIn(await this.#mapper.table(device))
  }

  async keep(disk: string, device: string): Promise<void> {
    const record: PlainRecord = { disk, device, table: await this.#mapper.table(device) }
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 })
    writeRecord(this.#file(disk), record)
  }

  forget(disk: string): void {
    rmSync(this.#file(disk), { force: true })
  }

  async restore(disk: string): Promise<void> {
    const record = this.#read(disk)
    if (record === undefined) return
    const { device: name, table } = record
    const device = await this.#mapper.find(name)
    // Whoever made another table of it since, as lvchange --refresh does, knows better than we do.
    if (device !== undefined && (await this.#isFailing(name))) {
      await this.#mapper.load(name, table)
      await this.#mapper.resume(name)
    }
    this.forget(disk)
  }

  async #isFailing(name: string): Promise<boolean> {
    return (await this.#mapper.table(name)).every(({ type }) => type === 'error')
  }

  #read(disk: string): PlainRecord | undefined {
    try {
      return JSON.parse(readFileSync(this.#file(disk), 'utf8')) as PlainRecord
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  #file(disk: string): string {
    return join(this.#folder, `${createHash('sha256').update(disk).digest('hex')}.json`)
  }
}
