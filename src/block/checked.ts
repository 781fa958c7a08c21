/**
 * The first link of a chain: the contract of a block device, checked once, so that neither filters
 * nor leaves check again. What a client may get wrong is answered with an errno; what our own code
 * may get wrong is asserted. The one thing that it emulates is FUA, by a flush that follows, where
 * the device can flush but lacks FUA.
 *
 * Answers, in the order of checking: unknown command or flag EINVAL; a change to a read-only device
 * EPERM; a command that the device does not offer ENOTSUP; nothing to do or not aligned to the
 * block size EINVAL; past the end of the device ENOSPC for what writes and EINVAL for the rest;
 * after close ESHUTDOWN (NBD proto, Error values).
 */
import assert from 'node:assert/strict'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_DF,
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
import type { Filter } from './chain.ts'
import type { BlockDevice, DeviceInfo } from './device.ts'
import { EINVAL, ENOSPC, ENOTSUP, EPERM, ESHUTDOWN } from './errno.ts'
import { InFlight } from './in-flight.ts'
import { type Completion, Request } from './request.ts'

export const checked: Filter = next => new Checked(next)

/**
 * Flags by command, FUA aside, which is allowed everywhere (NBD proto, Command flags); undefined
 * for a command we do not know.
 */
const FLAGS_ALLOWED: readonly (number | undefined)[] = (() => {
  const allowed: (number | undefined)[] = []
  allowed[NBD_CMD_READ] = NBD_CMD_FLAG_DF
  allowed[NBD_CMD_WRITE] = 0
  allowed[NBD_CMD_FLUSH] = 0
  allowed[NBD_CMD_TRIM] = 0
  allowed[NBD_CMD_CACHE] = 0
  allowed[NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO
  allowed[NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_REQ_ONE
  return allowed
})()

/** True for the commands that change what a read returns. */
export function isChange(command: number): boolean {
  return command === NBD_CMD_WRITE || command === NBD_CMD_WRITE_ZEROES || command === NBD_CMD_TRIM
}

class Checked implements BlockDevice, Completion {
  readonly info: DeviceInfo
  readonly #next: BlockDevice
  readonly #inFlight = new InFlight()
  readonly #followUps: FollowUp[] = []
  readonly #released = (followUp: FollowUp): void => {
    this.#followUps.push(followUp)
  }
  #closed: Promise<void> | undefined

  constructor(next: BlockDevice) {
    const { info } = next
    const { size, blockSize, isReadOnly } = info
    assert(Number.isSafeInteger(size) && size >= 0, 'checked: size is not a safe integer')
    assert(Number.isInteger(Math.log2(blockSize)), 'checked: block size is not a power of two')
    assert(size % blockSize === 0, 'checked: size is not a multiple of the block size')
    this.#next = next
    const canWriteZeroes = info.canWriteZeroes && !isReadOnly
    this.info = {
      ...info,
      canFua: info.canFua || info.canFlush,
      canTrim: info.canTrim && !isReadOnly,
      canWriteZeroes,
      canFastZero: info.canFastZero && canWriteZeroes,
    }
  }

  submit(request: Request): void {
    this.#inFlight.enter()
    request.push(this)
    const error = this.#closed !== undefined ? ESHUTDOWN : this.#check(request)
    // A cache request is a hint, and we take none (NBD proto, NBD_CMD_CACHE).
    if (error !== 0 || request.command === NBD_CMD_CACHE) {
      request.complete(error)
      return
    }
    // DF concerns the shape of the reply, and FUA means nothing on what does not change the device.
    if (!isChange(request.command)) request.flags &= ~(NBD_CMD_FLAG_DF | NBD_CMD_FLAG_FUA)
    if ((request.flags & NBD_CMD_FLAG_FUA) !== 0 && !this.#next.info.canFua) {
      const followUp = this.#followUps.pop() ?? new FollowUp(this.#next, this.#released)
      followUp.start(request)
      return
    }
    this.#next.submit(request)
  }

  completed(request: Request): void {
    const { error } = request
    assert(Number.isInteger(error), 'checked: completed with an error that is not an integer')
    assert(error >= 0, 'checked: completed with a negative error')
    request.complete(error)
    this.#inFlight.leave()
  }

  close(): Promise<void> {
    this.#closed ??= this.#inFlight.idle().then(() => this.#next.close())
    return this.#closed
  }

  /** 0, or the errno that the request deserves. */
  #check(request: Request): number {
    const { command, flags } = request
    const { info } = this
    const allowed = FLAGS_ALLOWED[command]
    if (allowed === undefined) return EINVAL
    if ((flags & ~(allowed | NBD_CMD_FLAG_FUA)) !== 0) return EINVAL
    if ((flags & NBD_CMD_FLAG_FUA) !== 0 && !info.canFua) return EINVAL
    if ((flags & NBD_CMD_FLAG_FAST_ZERO) !== 0 && !info.canFastZero) return EINVAL
    if (info.isReadOnly && isChange(command)) return EPERM
    if (!isOffered(info, command)) return ENOTSUP
    if (command === NBD_CMD_FLUSH) {
      return request.offset === 0 && request.length === 0 ? 0 : EINVAL
    }
    return this.#checkRange(request)
  }

  #checkRange(request: Request): number {
    const { command, offset, length } = request
    const { size, blockSize } = this.info
    if (!(offset >= 0) || !(length > 0)) return EINVAL
    if (offset > size - length) return isChange(command) ? ENOSPC : EINVAL
    if (offset % blockSize !== 0 || length % blockSize !== 0) return EINVAL
    if (command === NBD_CMD_READ || command === NBD_CMD_WRITE) {
      const { memory, memoryOffset } = request
      assert(memory !== undefined, 'checked: a read or a write without memory')
      assert(memoryOffset >= 0, 'checked: negative memory offset')
      assert(memoryOffset + length <= memory.bytes.length, 'checked: memory is too small')
    }
    if (command === NBD_CMD_BLOCK_STATUS) {
      assert(request.extents !== undefined, 'checked: a block status without extents')
    }
    return 0
  }
}

function isOffered(info: DeviceInfo, command: number): boolean {
  switch (command) {
    case NBD_CMD_FLUSH:
      return info.canFlush
    case NBD_CMD_TRIM:
      return info.canTrim
    case NBD_CMD_WRITE_ZEROES:
      return info.canWriteZeroes
    case NBD_CMD_BLOCK_STATUS:
      return info.canBlockStatus
    default:
      return true
  }
}

/**
 * FUA by a flush: the change goes down without the flag; once it has succeeded, a flush follows,
 * and the change is completed with the flush's outcome. It stays pushed on the change during the
 * flush, so that a device which completes the change a second time is caught and not believed.
 */
class FollowUp implements Completion {
  readonly #next: BlockDevice
  readonly #released: (followUp: FollowUp) => void
  readonly #flush = new Request()
  #change: Request | undefined
  #stage: 'change' | 'flush' | 'done' = 'change'

  constructor(next: BlockDevice, released: (followUp: FollowUp) => void) {
    this.#next = next
    this.#released = released
  }

  start(change: Request): void {
    this.#change = change
    this.#stage = 'change'
    change.flags &= ~NBD_CMD_FLAG_FUA
    change.push(this)
    this.#next.submit(change)
  }

  completed(request: Request): void {
    if (request === this.#flush) {
      this.#stage = 'done'
      this.#change!.complete(request.error)
      return
    }
    assert(this.#stage !== 'flush', 'checked: completed twice')
    if (this.#stage === 'done' || request.error !== 0) {
      this.#release(request)
      return
    }
    this.#stage = 'flush'
    request.push(this)
    this.#flush.set(NBD_CMD_FLUSH, 0, 0, 0)
    this.#flush.push(this)
    this.#next.submit(this.#flush)
  }

  #release(change: Request): void {
    this.#change = undefined
    change.flags |= NBD_CMD_FLAG_FUA
    this.#released(this)
    change.complete(change.error)
  }
}
