/**
 * The leaf over a file or a block device. It owns the fd and a pool of operations; a request costs
 * no allocation. Everything the kernel says is passed on as it is, except what NBD has no word for
 * (see `requestErrno`).
 *
 * Invariant: bytes outside the range of a request never change, and where zeroes were asked for
 * none of the old contents is left, whichever of its methods the kernel refuses.
 */
import assert from 'node:assert/strict'
import { closeSync } from 'node:fs'
import { NBD_CMD_BLOCK_STATUS, NBD_CMD_READ, NBD_CMD_WRITE } from 'nbd-client-ts'
import type { Engine } from '../io/engine.ts'
import type { BlockDevice, DeviceInfo } from './device.ts'
import { reportFileExtents } from './file-extents.ts'
import { FileOperation, type FileOwner } from './file-operation.ts'
import { InFlight } from './in-flight.ts'
import { type OpenedFile, type OpenFileOptions, openDisk } from './open-file.ts'
import type { Request } from './request.ts'

/** Direct I/O takes memory from addresses that are multiples of it (bytes). */
const MEMORY_ALIGNMENT = 512

/**
 * Opens a disk on an engine, which must outlive it. Rejects with OpenError, whose message says what
 * to do.
 */
export async function openFile(
  path: string,
  engine: Engine,
  options: OpenFileOptions = {},
): Promise<FileDevice> {
  return new FileDevice(await openDisk(path, engine, options), engine)
}

export class FileDevice implements BlockDevice, FileOwner {
  readonly info: DeviceInfo
  /** Whether the page cache is left out. */
  readonly isDirect: boolean
  readonly fd: number
  readonly engine: Engine
  readonly isBlockDevice: boolean
  readonly isInMemory: boolean
  canPunch: boolean
  canZeroRange = true
  #isDamaged = false
  readonly #free: FileOperation[] = []
  readonly #inFlight = new InFlight()
  #closed: Promise<void> | undefined

  constructor(file: OpenedFile, engine: Engine) {
    this.fd = file.fd
    this.engine = engine
    this.isDirect = file.isDirect
    this.isBlockDevice = file.isBlockDevice
    this.isInMemory = file.isInMemory
    this.canPunch = file.canPunch
    this.info = {
      size: file.size,
      blockSize: file.blockSize,
      isReadOnly: file.isReadOnly,
      isRotational: file.isRotational,
      canFua: true,
      canFlush: true,
      canTrim: file.canPunch,
      canWriteZeroes: !file.isReadOnly,
      canFastZero: file.canPunch,
      canBlockStatus: file.canSeekData,
      canMultiConn: true,
    }
  }

  submit(request: Request): void {
    if (request.command === NBD_CMD_BLOCK_STATUS) {
      void this.#reportExtents(request)
      return
    }
    if (this.isDirect) assertAligned(request)
    this.#inFlight.enter()
    const operation = this.#free.pop() ?? new FileOperation(this)
    operation.start(request)
  }

  close(): Promise<void> {
    this.#closed ??= this.#inFlight.idle().then(() => closeSync(this.fd))
    return this.#closed
  }

  /**
   * A failed sync of buffered writes loses them and marks their pages clean, so the next one would
   * succeed and mean nothing: there is no durability any more, and we go on saying so. Direct
   * writes have reported their own errors.
   */
  syncFailed(): void {
    if (!this.isDirect) this.#isDamaged = true
  }

  get isDamaged(): boolean {
    return this.#isDamaged
  }

  async #reportExtents(request: Request): Promise<void> {
    this.#inFlight.enter()
    const error = await reportFileExtents(request, this.fd, this.info.blockSize)
    request.complete(error)
    this.#inFlight.leave()
  }

  finished(operation: FileOperation, request: Request, error: number): void {
    this.#free.push(operation)
    request.complete(error)
    this.#inFlight.leave()
  }
}

function assertAligned({ command, memory, memoryOffset }: Request): void {
  if (command !== NBD_CMD_READ && command !== NBD_CMD_WRITE) return
  const address = memory!.address + memoryOffset
  assert(address % MEMORY_ALIGNMENT === 0, 'file: memory is not aligned for direct I/O')
}
