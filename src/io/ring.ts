/**
 * One io_uring: its set-up and its two shared rings, as described in io_uring_setup(2) and
 * io_uring_enter(2). It knows entries, not operations. The kernel and this thread share the mapped
 * memory; `tail` of the submission ring and `head` of the completion ring are ours to store, the
 * other two the kernel's. Used by the one thread that made it (IORING_SETUP_SINGLE_ISSUER).
 */
import assert from 'node:assert'
import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
import { addressOf, check, close, MAP_POPULATE, MAP_SHARED } from './libc.ts'
import { ioUringEnter, ioUringSetup } from './libc-uring.ts'
import type { Memory } from './memory.ts'
import { map, unmap } from './mmap.ts'

export const IORING_OP = {
  FSYNC: 3,
  POLL_ADD: 6,
  SENDMSG: 9,
  ASYNC_CANCEL: 14,
  FALLOCATE: 17,
  READ: 22,
  WRITE: 23,
  RECV: 27,
} as const

const SETUP_CQSIZE = 1 << 3
const SETUP_COOP_TASKRUN = 1 << 8
const SETUP_SINGLE_ISSUER = 1 << 12
const SETUP_DEFER_TASKRUN = 1 << 13
/** Best first; a kernel refuses flags it does not know with EINVAL. Linux 6.1, 6.0, 5.19, 5.5. */
const SETUP_FLAGS = [
  SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN,
  SETUP_SINGLE_ISSUER | SETUP_COOP_TASKRUN,
  SETUP_COOP_TASKRUN,
  0,
] as const

const FEAT_SINGLE_MMAP = 1 << 0
const FEAT_NODROP = 1 << 1
const FEAT_RW_CUR_POS = 1 << 3
const FEAT_FAST_POLL = 1 << 5
const FEAT_EXT_ARG = 1 << 8
/**
 * EXT_ARG is the youngest (Linux 5.11): a wait with a timeout. FAST_POLL lets sockets wait without
 * a kernel thread each.
 */
const FEATURES = FEAT_SINGLE_MMAP | FEAT_NODROP | FEAT_RW_CUR_POS | FEAT_FAST_POLL | FEAT_EXT_ARG

const OFF_SQ_RING = 0
const OFF_SQES = 0x10000000
const SQE_WORDS = 16
const SQE_BYTES = 64
const CQE_WORDS = 4
const CQE_BYTES = 16

// Indices of 32-bit words in struct io_uring_params.
const PARAMS_WORDS = 30
const PARAM_SQ_ENTRIES = 0
const PARAM_CQ_ENTRIES = 1
const PARAM_FLAGS = 2
const PARAM_FEATURES = 5
const PARAM_SQ_OFFSETS = 10
const PARAM_CQ_OFFSETS = 20

const ENTER_GETEVENTS = 1 << 0
const ENTER_EXT_ARG = 1 << 3
const ARGUMENT_BYTES = 24

const { EAGAIN, EBUSY, EINTR, EINVAL, ENOMEM, ENOSYS, EPERM, ETIME } = constants.errno
/** Failures of io_uring_enter in a row that are put down to passing causes. */
const FAILURES_MAX = 1000

export class Ring {
  readonly completionsMax: number
  /** What the last `next` found: the tag given to `prepare` and the kernel's answer. */
  tag = 0
  result = 0

  readonly #fd: number
  readonly #rings: Memory
  readonly #entries: Memory
  readonly #words: Uint32Array
  readonly #results: Int32Array
  readonly #sqes: Uint32Array
  readonly #sqHeadAt: number
  readonly #sqTailAt: number
  readonly #sqMask: number
  readonly #sqEntries: number
  readonly #cqHeadAt: number
  readonly #cqTailAt: number
  readonly #cqMask: number
  readonly #cqesAt: number
  /** struct io_uring_getevents_arg, followed by the struct __kernel_timespec that it points to. */
  readonly #argument = new Uint32Array(new ArrayBuffer(40))
  readonly #argumentAddress: number
  #sqTail: number
  #cqHead: number
  #cqTail: number
  #failures = 0

  /** Takes the fd and the parameters that io_uring_setup filled in. */
  constructor(fd: number, params: Uint32Array) {
    this.#fd = fd
    const sq = params.subarray(PARAM_SQ_OFFSETS)
    const cq = params.subarray(PARAM_CQ_OFFSETS)
    this.#sqEntries = params[PARAM_SQ_ENTRIES]!
    this.completionsMax = params[PARAM_CQ_ENTRIES]!
    const sqBytes = sq[6]! + this.#sqEntries * 4
    const cqBytes = cq[5]! + this.completionsMax * CQE_BYTES
    this.#rings = map(Math.max(sqBytes, cqBytes), MAP_SHARED | MAP_POPULATE, fd, OFF_SQ_RING)
    this.#entries = map(this.#sqEntries * SQE_BYTES, MAP_SHARED | MAP_POPULATE, fd, OFF_SQES)
    this.#words = new Uint32Array(this.#rings.bytes.buffer)
    this.#results = new Int32Array(this.#rings.bytes.buffer)
    this.#sqes = new Uint32Array(this.#entries.bytes.buffer)

    this.#sqHeadAt = sq[0]! / 4
    this.#sqTailAt = sq[1]! / 4
    this.#sqMask = this.#words[sq[2]! / 4]!
    this.#cqHeadAt = cq[0]! / 4
    this.#cqTailAt = cq[1]! / 4
    this.#cqMask = this.#words[cq[2]! / 4]!
    this.#cqesAt = cq[5]! / 4
    // Entry i of the ring is always submission entry i.
    for (let i = 0; i < this.#sqEntries; i++) this.#words[sq[6]! / 4 + i] = i
    this.#sqTail = this.#words[this.#sqTailAt]!
    this.#cqHead = this.#words[this.#cqHeadAt]!
    this.#cqTail = this.#cqHead

    this.#argumentAddress = addressOf(this.#argument)
    const timespec = this.#argumentAddress + ARGUMENT_BYTES
    this.#argument[4] = timespec >>> 0
    this.#argument[5] = (timespec / 2 ** 32) >>> 0
  }

  /** Submission entries not yet taken by the kernel. */
  get #pending(): number {
    return (this.#sqTail - Atomics.load(this.#words, this.#sqHeadAt)) >>> 0
  }

  get isFull(): boolean {
    return this.#pending === this.#sqEntries
  }

  /**
   * Writes one submission entry; the ring must not be full. Offset and address are exact up to
   * 2^53. `flags` is the word that the operation defines for itself (msg_flags, fsync_flags, poll
   * events).
   */
  prepare(
    opcode: number,
    fd: number,
    offset: number,
    address: number,
    length: number,
    flags: number,
    tag: number,
  ): void {
    const sqes = this.#sqes
    const at = (this.#sqTail & this.#sqMask) * SQE_WORDS
    sqes[at] = opcode
    sqes[at + 1] = fd
    sqes[at + 2] = offset >>> 0
    sqes[at + 3] = (offset / 2 ** 32) >>> 0
    sqes[at + 4] = address >>> 0
    sqes[at + 5] = (address / 2 ** 32) >>> 0
    sqes[at + 6] = length
    sqes[at + 7] = flags
    sqes[at + 8] = tag
    sqes[at + 9] = 0
    sqes[at + 10] = 0
    sqes[at + 11] = 0
    this.#sqTail = (this.#sqTail + 1) >>> 0
  }

  /**
   * Hands the prepared entries over, then waits for `count` completions, `waitMs` at most; with 0
   * it only looks. It may return early, with entries left over: they go with the next call.
   */
  enter(waitMs: number, count: number): void {
    Atomics.store(this.#words, this.#sqTailAt, this.#sqTail)
    const seconds = Math.floor(waitMs / 1000)
    this.#argument[6] = seconds
    this.#argument[8] = (waitMs - seconds * 1000) * 1e6
    const result = ioUringEnter(
      this.#fd,
      this.#pending,
      waitMs > 0 ? count : 0,
      ENTER_GETEVENTS | ENTER_EXT_ARG,
      this.#argumentAddress,
      ARGUMENT_BYTES,
    )
    if (result >= 0 || result === -ETIME || result === -EINTR) {
      this.#failures = 0
      return
    }
    // The kernel is short of memory or wants its completions taken first; both pass.
    const passes = result === -EAGAIN || result === -EBUSY || result === -ENOMEM
    this.#failures++
    if (!passes || this.#failures > FAILURES_MAX) check(result, 'io_uring_enter')
  }

  /** Completions that are there to be taken. */
  get available(): number {
    return (Atomics.load(this.#words, this.#cqTailAt) - this.#cqHead) >>> 0
  }

  /** Takes one completion into `tag` and `result`; false if there is none. */
  next(): boolean {
    if (this.#cqHead === this.#cqTail) {
      Atomics.store(this.#words, this.#cqHeadAt, this.#cqHead)
      this.#cqTail = Atomics.load(this.#words, this.#cqTailAt)
      if (this.#cqHead === this.#cqTail) return false
    }
    const at = this.#cqesAt + (this.#cqHead & this.#cqMask) * CQE_WORDS
    this.tag = this.#words[at]!
    this.result = this.#results[at + 2]!
    this.#cqHead = (this.#cqHead + 1) >>> 0
    return true
  }

  /** Nothing may be under way: the kernel would go on using its memory. */
  close(): void {
    unmap(this.#entries)
    unmap(this.#rings)
    check(close(this.#fd), 'close')
  }
}

/**
 * Makes a ring of `entries` submissions and `completions` completions (powers of two). Throws a
 * sentence saying why not.
 */
export function openRing(entries: number, completions: number): Ring {
  assert(completions >= entries, 'ring: no fewer completions than submissions')
  const params = new Uint32Array(PARAMS_WORDS)
  let fd = -EINVAL
  for (const flags of SETUP_FLAGS) {
    params.fill(0)
    params[PARAM_FLAGS] = flags | SETUP_CQSIZE
    params[PARAM_CQ_ENTRIES] = completions
    fd = ioUringSetup(entries, params)
    if (fd !== -EINVAL) break
  }
  if (fd < 0) throw new Error(whyNot(fd))
  if ((params[PARAM_FEATURES]! & FEATURES) !== FEATURES) {
    close(fd)
    throw new Error('this kernel is too old for the uring engine (it needs Linux 5.11)')
  }
  return new Ring(fd, params)
}

function whyNot(result: number): string {
  switch (result) {
    case -ENOSYS:
      return 'this kernel has no io_uring'
    case -EPERM:
      return 'io_uring is disabled (see sysctl kernel.io_uring_disabled and the seccomp profile)'
    case -ENOMEM:
      return 'io_uring got no memory (raise the limit of locked memory, ulimit -l)'
    default:
      return `io_uring_setup: ${getSystemErrorName(result)}`
  }
}
