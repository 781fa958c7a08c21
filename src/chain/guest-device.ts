/**
 * The guest's own device: what its plain table is, and the tables that it gets in the course of a
 * session. The device stays the same device throughout, so the guest's block backend never notices.
 */
import { realpathSync } from 'node:fs'
import type { DeviceMapper, DmDevice } from '../host/device-mapper.ts'
import { fence, numbersOfNode, swap } from '../host/dm-swap.ts'
import { linearTable, SECTOR_BYTES, type Table, tableLength } from '../host/dm-table.ts'
import { DiskPathError } from './disk-path.ts'
import { isChainDevice } from './names.ts'
import { pause } from './pause.ts'

/** Kinds of mapping that may stand twice in the kernel: they keep no state of their own. */
const COPYABLE_KINDS: ReadonlySet<string> = new Set(['linear', 'striped'])

/**
 * For whoever has loaded a table of his own, as LVM does before it puts several into force at once,
 * to go on with it (ms).
 */
const OWNER_MS_MAX = 2000
const OWNER_POLL_MS = 50

export class GuestDevice {
  readonly name: string
  /** The table on the disk. */
  readonly plain: Table
  readonly #mapper: DeviceMapper
  /** What a session has put there in its place. */
  #proxied: Table | undefined

  /** `below`: `major:minor` of the device that it stands on in a session that was left. */
  constructor(mapper: DeviceMapper, name: string, plain: Table, below?: string) {
    this.#mapper = mapper
    this.name = name
    this.plain = plain
    if (below !== undefined) this.#proxied = linearTable(below, tableLength(plain))
  }

  /** Throws DiskPathError `device` if a proxy cannot be put under it. */
  static async open(mapper: DeviceMapper, nameOrPath: string): Promise<GuestDevice> {
    const device = await findDevice(mapper, nameOrPath)
    const refuse = (problem: string): DiskPathError =>
      new DiskPathError('device', `${device.name} cannot be put under a proxy: ${problem}`)
    if (isChainDevice(device.name)) throw refuse('it is part of a session itself')
    if (device.isSuspended) throw refuse('it is suspended; resume it first')
    if (device.isReadOnly) throw refuse('it is read-only')
    if (!device.hasTable) throw refuse('it has no table')
    if (device.hasLoadedTable) throw refuse('a table is loaded and waits; clear or resume it first')
    const table = await mapper.table(device.name)
    const obstacle = obstacleIn(table)
    if (obstacle !== undefined) throw refuse(obstacle)
    await checkBelow(mapper, device, refuse)
    return new GuestDevice(mapper, device.name, table)
  }

  get sectors(): number {
    return tableLength(this.plain)
  }

  /** Bytes. */
  get size(): number {
    return this.sectors * SECTOR_BYTES
  }

  /**
   * `below`: `major:minor` of the device that the guest's requests go to from now on. Throws
   * DiskPathError `device` if somebody has given the guest's device another table meanwhile.
   */
  async swapOnto(below: string): Promise<void> {
    if (await this.isBypassed()) throw new DiskPathError('device', this.bypassedSentence)
    this.#proxied = linearTable(below, this.sectors)
    await swap(this.#mapper, this.name, this.#proxied)
  }

  /**
   * Wherever it stands, and also when suspended: what was parked goes to the disk. One that is not
   * ours may have been removed by its owner, and then nobody waits for it. If he has made another
   * table of it he knows better than we do: the plain one in the place of his would ruin a snapshot
   * without a word.
   */
  async swapToPlain(): Promise<void> {
    if ((await this.#mapper.find(this.name)) === undefined) return
    const loaded = await this.#lastingLoaded()
    const device = await this.#mapper.status(this.name)
    const live = await this.#mapper.table(this.name)
    const isPromised = this.#isForeign(loaded)
    if (this.#isForeign(live) || isPromised) {
      if (loaded.length > 0 && !isPromised) await this.#mapper.clear(this.name)
      if (device.isSuspended || isPromised) await this.#mapper.resume(this.name)
      return
    }
    const isPlain = sameTable(live, this.plain)
    if (isPlain && !device.isSuspended && !device.hasLoadedTable) return
    if (isPlain && !device.hasLoadedTable) await this.#mapper.resume(this.name)
    else await swap(this.#mapper, this.name, this.plain)
  }

  /**
   * Settles when nothing is in flight. Throws DiskPathError `device` if somebody else has put a
   * table there since, or is about to; it is suspended all the same.
   */
  async suspend(): Promise<void> {
    await this.#mapper.suspend(this.name)
    if (await this.isBypassed()) throw new DiskPathError('device', this.bypassedSentence)
  }

  /** Whether requests of the guest may pass by what is known of it; costs one ioctl. */
  async isBypassed(): Promise<boolean> {
    const { live, hasLoadedTable } = await this.#mapper.tables(this.name)
    return hasLoadedTable || !sameTable(live, this.#proxied ?? this.plain)
  }

  get bypassedSentence(): string {
    const problem = `${this.name} was given another table, so the copy misses what is written`
    return `${problem}: do not resize, refresh or snapshot it meanwhile, and migrate again`
  }

  /** Neither the plain one nor one that blkferry puts there. */
  #isForeign(table: Table): boolean {
    const isFailing = table.every(({ type }) => type === 'error')
    if (isFailing || sameTable(table, this.plain)) return false
    return this.#proxied === undefined || !sameTable(table, this.#proxied)
  }

  /** What is loaded and waits; if it is somebody else's, after he has had time to go on with it. */
  async #lastingLoaded(): Promise<Table> {
    const deadline = performance.now() + OWNER_MS_MAX
    for (;;) {
      const loaded = await this.#mapper.loadedTable(this.name)
      if (!this.#isForeign(loaded) || performance.now() >= deadline) return loaded
      await pause(OWNER_POLL_MS)
    }
  }

  async fail(): Promise<void> {
    await fence(this.#mapper, this.name)
  }
}

/** Why the table cannot be moved aside for a while; undefined if it can. */
export function obstacleIn(table: Table): string | undefined {
  const kinds = table.map(mapping => (mapping.type === 'other' ? mapping.kind : mapping.type))
  const strange = kinds.find(kind => !COPYABLE_KINDS.has(kind))
  if (strange === undefined) return undefined
  return `its table has ${strange}; only linear and striped can be moved aside`
}

export function sameTable(one: Table, other: Table): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

/** A session's own devices below the guest's: another session has it. */
async function checkBelow(
  mapper: DeviceMapper,
  device: DmDevice,
  refuse: (problem: string) => DiskPathError,
): Promise<void> {
  const below = new Set(await mapper.dependencies(device.name))
  for (const { name, major, minor } of await mapper.list()) {
    if (isChainDevice(name) && below.has(`${major}:${minor}`)) {
      throw refuse(`a session has it already, through ${name}`)
    }
  }
}

async function findDevice(mapper: DeviceMapper, nameOrPath: string): Promise<DmDevice> {
  if (!nameOrPath.includes('/')) {
    const device = await mapper.find(nameOrPath)
    if (device !== undefined) return device
    throw new DiskPathError('device', `there is no device-mapper device ${nameOrPath}`)
  }
  const numbers = numbersOf(nameOrPath)
  const found = (await mapper.list()).find(({ major, minor }) => `${major}:${minor}` === numbers)
  if (found !== undefined) return await mapper.status(found.name)
  const remedy = 'put it under one while no guest uses it'
  throw new DiskPathError('device', `${nameOrPath} is no device-mapper device; ${remedy}`)
}

function numbersOf(path: string): string {
  try {
    return numbersOfNode(realpathSync(path))
  } catch (error) {
    throw new DiskPathError('device', `${path} is no block device`, error)
  }
}
