/**
 * One request on a file, from submit to completion: a pooled operation of the engine that goes
 * through one or more steps.
 *
 *   read -> done        write, trim -> (sync if FUA) -> done        flush: sync -> done
 *   write zeroes: punch, else zero range, else write -> (sync if FUA) -> done
 */
import assert from 'node:assert/strict'
import {
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from 'nbd-client-ts'
import type { Engine, Operation } from '../io/engine.ts'
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  fdatasync,
  pread,
  pwrite,
} from '../io/libc.ts'
import type { Memory } from '../io/memory.ts'
import { mapAnonymous } from '../io/mmap.ts'
import { EINVAL, EIO, ENOSPC, ENOTSUP, requestErrno } from './errno.ts'
import type { Request } from './request.ts'

/** What an operation needs of its device, and what it tells it. */
export interface FileOwner {
  readonly fd: number
  readonly engine: Engine
  readonly isBlockDevice: boolean
  /**
   * Short transfers are made on the spot: io_uring would hand them to a kernel thread, because
   * these file systems never promise not to wait, and libuv to one of its own.
   */
  readonly isInMemory: boolean
  /** Taken back for good when the kernel refuses them. */
  canPunch: boolean
  canZeroRange: boolean
  /** A flush may not succeed again: see `syncFailed`. */
  readonly isDamaged: boolean
  syncFailed(): void
  finished(operation: FileOperation, request: Request, error: number): void
}

/**
 * Bytes written at a time where zeroes have to be written: large enough to be fast, small enough
 * not to be in the way.
 */
const ZEROES_LENGTH = 1024 * 1024
/**
 * Longest transfer of a file in memory that is made on the spot (bytes): to copy more takes longer
 * than to hand it to another thread, which may have another processor.
 */
const AT_ONCE_MAX = 128 * 1024
const EBUSY = 16
const ENOSYS = 38

let sharedZeroes: Memory | undefined

/**
 * Zeroes to write from, for ever: mapped and never touched, so they take no memory. Nobody writes
 * to them.
 */
function zeroes(): Memory {
  sharedZeroes ??= mapAnonymous(ZEROES_LENGTH)
  return sharedZeroes
}

type Step = 'idle' | 'read' | 'write' | 'trim' | 'punch' | 'zero range' | 'write zeroes' | 'sync'

export class FileOperation implements Operation {
  readonly #owner: FileOwner
  #request: Request | undefined
  #step: Step = 'idle'
  /** Of zeroes that are written: bytes done, and bytes of the write under way. */
  #done = 0
  #piece = 0

  constructor(owner: FileOwner) {
    this.#owner = owner
  }

  start(request: Request): void {
    const { isDamaged } = this.#owner
    this.#request = request
    switch (request.command) {
      case NBD_CMD_READ:
        this.#step = 'read'
        this.#transfer(request)
        break
      case NBD_CMD_WRITE:
        this.#step = 'write'
        this.#transfer(request)
        break
      case NBD_CMD_FLUSH:
        if (isDamaged) this.#finish(EIO)
        else this.#sync()
        break
      case NBD_CMD_TRIM:
        if (this.#owner.canPunch) this.#punch('trim')
        else this.#finish(ENOTSUP)
        break
      case NBD_CMD_WRITE_ZEROES:
        this.#zero()
        break
      default:
        this.#finish(EINVAL)
    }
  }

  settle(result: number): void {
    const { length } = this.#request!
    switch (this.#step) {
      case 'read':
        // Short: somebody has cut the file off since it was opened.
        this.#finish(result === length ? 0 : outcome(result, EIO))
        break
      case 'write':
        if (result === length) this.#changed()
        else this.#finish(outcome(result, ENOSPC))
        break
      case 'trim':
        this.#trimmed(result)
        break
      case 'punch':
      case 'zero range':
        this.#zeroed(result)
        break
      case 'write zeroes':
        this.#wroteZeroes(result)
        break
      case 'sync':
        if (result < 0) this.#owner.syncFailed()
        this.#finish(outcome(result, 0))
        break
      default:
        assert.fail('file: settled twice')
    }
  }

  #transfer({ command, offset, length, memory, memoryOffset }: Request): void {
    const { fd, engine, isInMemory } = this.#owner
    const isRead = command === NBD_CMD_READ
    if (isInMemory && length <= AT_ONCE_MAX) {
      assert(memoryOffset + length <= memory!.bytes.length, 'file: outside its memory')
      const address = memory!.address + memoryOffset
      const result = (isRead ? pread : pwrite)(fd, address, length, offset)
      // Whatever else may come of it, the engine knows how to go on.
      if (result === length) {
        this.settle(result)
        return
      }
    }
    if (isRead) engine.read(fd, memory!, memoryOffset, length, offset, this)
    else engine.write(fd, memory!, memoryOffset, length, offset, this)
  }

  #punch(step: 'trim' | 'punch'): void {
    this.#step = step
    this.#fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
  }

  #fallocate(mode: number): void {
    const { offset, length } = this.#request!
    this.#owner.engine.fallocate(this.#owner.fd, mode, offset, length, this)
  }

  #trimmed(result: number): void {
    if (isRefusal(result)) this.#owner.canPunch = false
    // Somebody has the range mapped just now. A trim is a wish, and this one is not fulfilled.
    if (result === 0 || result === -EBUSY) this.#changed()
    else this.#finish(outcome(result, 0))
  }

  /** The cheapest method that is left and that the flags allow. */
  #zero(): void {
    const { canPunch, canZeroRange, isBlockDevice } = this.#owner
    const { flags } = this.#request!
    const isFast = (flags & NBD_CMD_FLAG_FAST_ZERO) !== 0
    if (canPunch && (flags & NBD_CMD_FLAG_NO_HOLE) === 0) {
      // Reads back as zeroes on a file, and on a block device too: there the kernel does it by an
      // offloaded write zeroes without fallback, never by a discard (blkdev_fallocate).
      this.#punch('punch')
    } else if (canZeroRange && !(isFast && isBlockDevice)) {
      // On a block device without the offload the kernel writes pages of zeroes, which is not fast.
      this.#step = 'zero range'
      this.#fallocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)
    } else {
      this.#writeZeroesUnless(isFast)
    }
  }

  #zeroed(result: number): void {
    if (result === 0) {
      this.#changed()
    } else if (isRefusal(result)) {
      if (this.#step === 'punch') this.#owner.canPunch = false
      else this.#owner.canZeroRange = false
      this.#zero()
    } else if (result === -EBUSY) {
      this.#writeZeroesUnless((this.#request!.flags & NBD_CMD_FLAG_FAST_ZERO) !== 0)
    } else {
      this.#finish(outcome(result, 0))
    }
  }

  #writeZeroesUnless(isFast: boolean): void {
    if (isFast) {
      this.#finish(ENOTSUP)
      return
    }
    this.#step = 'write zeroes'
    this.#done = 0
    this.#writePiece()
  }

  #writePiece(): void {
    const { fd, engine } = this.#owner
    const { offset, length } = this.#request!
    this.#piece = Math.min(length - this.#done, ZEROES_LENGTH)
    engine.write(fd, zeroes(), 0, this.#piece, offset + this.#done, this)
  }

  #wroteZeroes(result: number): void {
    if (result !== this.#piece) {
      this.#finish(outcome(result, ENOSPC))
      return
    }
    this.#done += this.#piece
    if (this.#done < this.#request!.length) this.#writePiece()
    else this.#changed()
  }

  /** A change is made; with FUA it is done only when it is durable. */
  #changed(): void {
    if ((this.#request!.flags & NBD_CMD_FLAG_FUA) === 0) this.#finish(0)
    else if (this.#owner.isDamaged) this.#finish(EIO)
    else this.#sync()
  }

  #sync(): void {
    const { fd, engine, isInMemory } = this.#owner
    this.#step = 'sync'
    // Once only: a second one would succeed, and mean nothing.
    if (isInMemory) this.settle(fdatasync(fd))
    else engine.sync(fd, this)
  }

  #finish(error: number): void {
    const request = this.#request!
    this.#request = undefined
    this.#step = 'idle'
    this.#owner.finished(this, request, error)
  }
}

/** The errno for a negative result, else `otherwise`. */
function outcome(result: number, otherwise: number): number {
  return result < 0 ? requestErrno(-result) : otherwise
}

/** The kernel, or what is below it, cannot do this at all. */
function isRefusal(result: number): boolean {
  return result === -ENOTSUP || result === -ENOSYS
}
