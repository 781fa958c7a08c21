/**
 * The device through which alone the proxy reaches the disk, so that a dead proxy's last requests
 * can be waited for and kept out. A process that was killed is not over with its exit: what it
 * has submitted may still be on its way to the disk, and would overwrite what comes after it.
 */
import type { DeviceMapper } from '../host/device-mapper.ts'
import { deviceNode } from '../host/dm-node.ts'
import { fence, swap } from '../host/dm-swap.ts'
import type { Table } from '../host/dm-table.ts'
import { DiskPathError } from './disk-path.ts'
import { pause } from './pause.ts'

/** How long what a dead process had open may stay open (ms). */
export const CLOSE_MS_MAX = 3000
const CLOSE_POLL_MS = 5

export class FenceDevice {
  readonly #mapper: DeviceMapper
  readonly #name: string
  readonly #plain: Table
  #node = ''

  constructor(mapper: DeviceMapper, name: string, plain: Table) {
    this.#mapper = mapper
    this.#name = name
    this.#plain = plain
  }

  /** Where the proxy opens it. */
  get node(): string {
    return this.#node
  }

  async create(): Promise<void> {
    const uuid = `BLKFERRY-${this.#name}`
    this.#node = deviceNode(await this.#mapper.create(this.#name, this.#plain, { uuid }))
  }

  /** When it settles, nothing is on its way to the disk, and nothing gets there any more. */
  async cutOff(): Promise<void> {
    await fence(this.#mapper, this.#name)
  }

  /**
   * For the next proxy, after `cutOff`. Throws DiskPathError `proxy` while somebody has the device
   * open still: a ring of a dead process that the kernel has not torn down yet could submit more.
   */
  async reopen(): Promise<void> {
    const deadline = performance.now() + CLOSE_MS_MAX
    while ((await this.#mapper.status(this.#name)).openCount > 0) {
      if (performance.now() >= deadline) {
        throw new DiskPathError(
          'proxy',
          `${this.#name} is still open; nothing may replace its proxy`,
        )
      }
      await pause(CLOSE_POLL_MS)
    }
    await swap(this.#mapper, this.#name, this.#plain)
  }
}
