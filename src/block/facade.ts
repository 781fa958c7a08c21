/**
 * Promises over a block device, for tests and control code; not for the data path, since it
 * allocates and copies. Calls may overlap, and then have no order, as below. Every failure is a
 * BlockError.
 */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from 'nbd-client-ts'
import type { Memory } from '../io/memory.ts'
import { BlockError } from './block-error.ts'
import type { BlockDevice, DeviceInfo } from './device.ts'
import { Extents } from './extents.ts'
import { type Completion, Request } from './request.ts'

/** Where the facade gets memory that the device's engine can use, for the time of one call. */
export interface MemorySource {
  acquire(length: number): Memory
  release(memory: Memory): void
}

/** Memory that no kernel can use: enough for devices without an engine. */
const HEAP: MemorySource = {
  acquire: length => ({ bytes: new Uint8Array(length), address: 0 }),
  release: () => {},
}

export interface Extent {
  length: number
  flags: number
}

interface Durable {
  fua?: boolean
}

export class Facade implements AsyncDisposable {
  readonly #device: BlockDevice
  readonly #source: MemorySource

  /** Takes over the device: `close` closes it. */
  constructor(device: BlockDevice, source: MemorySource = HEAP) {
    this.#device = device
    this.#source = source
  }

  get info(): DeviceInfo {
    return this.#device.info
  }

  /** The bytes from `offset` on, as a copy of the caller's own. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const memory = this.#source.acquire(length)
    let bytes: Uint8Array | undefined
    const take = (): void => {
      bytes = memory.bytes.slice(0, length)
    }
    await this.#run('read', { command: NBD_CMD_READ, offset, length, memory }, take)
    return bytes!
  }

  async write(offset: number, bytes: Uint8Array, { fua = false }: Durable = {}): Promise<void> {
    const { length } = bytes
    const memory = this.#source.acquire(length)
    memory.bytes.set(bytes)
    const flags = fua ? NBD_CMD_FLAG_FUA : 0
    await this.#run('write', { command: NBD_CMD_WRITE, flags, offset, length, memory })
  }

  async flush(): Promise<void> {
    await this.#run('flush', { command: NBD_CMD_FLUSH, offset: 0, length: 0 })
  }

  async trim(offset: number, length: number, { fua = false }: Durable = {}): Promise<void> {
    const flags = fua ? NBD_CMD_FLAG_FUA : 0
    await this.#run('trim', { command: NBD_CMD_TRIM, flags, offset, length })
  }

  async writeZeroes(
    offset: number,
    length: number,
    options: Durable & { noHole?: boolean; fastZero?: boolean } = {},
  ): Promise<void> {
    const flags =
      (options.fua ? NBD_CMD_FLAG_FUA : 0) |
      (options.noHole ? NBD_CMD_FLAG_NO_HOLE : 0) |
      (options.fastZero ? NBD_CMD_FLAG_FAST_ZERO : 0)
    await this.#run('write zeroes', { command: NBD_CMD_WRITE_ZEROES, flags, offset, length })
  }

  /** Extents from `offset` on: at least one, possibly fewer than the length asks for. */
  async blockStatus(offset: number, length: number, { one = false } = {}): Promise<Extent[]> {
    const extents = new Extents()
    const flags = one ? NBD_CMD_FLAG_REQ_ONE : 0
    const command = NBD_CMD_BLOCK_STATUS
    await this.#run('block status', { command, flags, offset, length, extents })
    return Array.from({ length: extents.count }, (_, index) => ({
      length: extents.length(index),
      flags: extents.flags(index),
    }))
  }

  async close(): Promise<void> {
    await this.#device.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Releases the memory when nobody has it any more, which may be after the completion. */
  #run(operation: string, fields: Partial<Request>, succeeded = (): void => {}): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = Object.assign(new Request(), fields)
      const release = (): void => {
        if (request.memory !== undefined) this.#source.release(request.memory)
      }
      const completion: Completion = {
        completed: ({ error, offset, length }) => {
          if (error === 0) {
            succeeded()
            resolve()
          } else {
            reject(new BlockError(error, operation, offset, length))
          }
          if (!request.isLent) release()
        },
      }
      request.lender = { givenBack: release }
      request.push(completion)
      this.#device.submit(request)
    })
  }
}
