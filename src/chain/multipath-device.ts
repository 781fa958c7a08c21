/**
 * The device that keeps the guest's requests while no proxy can take them: dm-multipath with one
 * path. Its table can be replaced at any moment, also while requests wait in it.
 */
import type { DeviceMapper } from '../host/device-mapper.ts'
import { multipathTable, type Table, type TableLine } from '../host/dm-table.ts'

export class MultipathDevice {
  readonly #mapper: DeviceMapper
  readonly #name: string
  readonly #sectors: number

  constructor(mapper: DeviceMapper, name: string, sectors: number) {
    this.#mapper = mapper
    this.#name = name
    this.#sectors = sectors
  }

  /** Returns its `major:minor`. */
  async create(path: string): Promise<string> {
    const table = multipathTable(path, this.#sectors)
    const uuid = `BLKFERRY-${this.#name}`
    const { major, minor } = await this.#mapper.create(this.#name, table, { uuid })
    return `${major}:${minor}`
  }

  /**
   * Everything waits, at no cost, until the device is pointed at something. Settles when nothing is
   * in flight, for which somebody must fail what a dead proxy owes. Without this the kernel's
   * worker tries what waits again and again for as long as no path works, and takes a whole
   * processor for it.
   */
  async park(): Promise<void> {
    await this.#mapper.suspend(this.#name, { noFlush: true })
  }

  /** What waits goes to this path, and all that comes. */
  async pointAt(path: string): Promise<void> {
    await this.#load(multipathTable(path, this.#sectors))
  }

  /**
   * The same, and a request that fails there fails for good, as do all that come after it: for a
   * path that is the disk itself, with nothing coming any more.
   */
  async giveUpAt(path: string): Promise<void> {
    const parameters = `2 queue_mode bio 0 1 1 round-robin 0 1 1 ${path} 1`
    const range = { start: 0, length: this.#sectors }
    await this.#load([{ type: 'other', ...range, kind: 'multipath', parameters }])
  }

  /** Something has failed on the path, and waits. */
  async hasFailedPath(): Promise<boolean> {
    return (await this.#mapper.mappingStatus(this.#name)).some(hasFailedPath)
  }

  /** Without a flush: requests that wait would not let it end. */
  async #load(table: Table): Promise<void> {
    await this.#mapper.load(this.#name, table)
    await this.#mapper.resume(this.#name, { noFlush: true })
  }
}

/** In a status line each path is its `major:minor`, then A or F, then how often it has failed. */
export function hasFailedPath({ parameters }: TableLine): boolean {
  return /\d+:\d+ F\b/.test(parameters)
}
