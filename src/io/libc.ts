/**
 * Foreign functions of the C library, declared here, in `libc-uring` and in `libc-control`,
 * nowhere else. They come from the process itself. One convention: a function returns the kernel's
 * result, which is >= 0, or a negative errno, and never throws; set-up code wraps it in `check`,
 * which does. Pointers are numbers (user space ends below 2^53). Memory handed over is borrowed for
 * the call; those on the thread pool (`Async`) take none.
 */
import assert from 'node:assert'
import { getSystemErrorName } from 'node:util'
import koffi from 'koffi'

const self = koffi.load(null)
/** Declares a function of this process; for the files named above. */
export const native = <F>(definition: string): F => self.func(definition) as unknown as F
type Pointer = number | ArrayBufferView | null
type Settled = (error: Error | null, result: number) => void
type Transfer = (fd: number, address: number, length: number, offset: number) => number

const libcPread = native<Transfer>(
  'int64_t pread(int fd, intptr_t at, size_t length, int64_t offset)',
)
const libcPwrite = native<Transfer>(
  'int64_t pwrite(int fd, intptr_t at, size_t length, int64_t offset)',
)
const libcFdatasync = native<(fd: number) => number>('int fdatasync(int fd)')
const libcMmap = native<
  (at: number, length: number, prot: number, flags: number, fd: number, offset: number) => number
>('int64_t mmap(intptr_t at, size_t length, int prot, int flags, int fd, int64_t offset)')
const libcMunmap = native<(address: number, length: number) => number>(
  'int munmap(intptr_t address, size_t length)',
)
const libcMadvise = native<(address: number, length: number, advice: number) => number>(
  'int madvise(intptr_t address, size_t length, int advice)',
)
const libcClose = native<(fd: number) => number>('int close(int fd)')
const libcEventfd = native<(value: number, flags: number) => number>(
  'int eventfd(unsigned int value, int flags)',
)
const libcFcntl = native<(fd: number, command: number, argument: number) => number>(
  'int fcntl(int fd, int command, long argument)',
)
const libcIoctl = native<(fd: number, request: number, argument: Pointer) => number>(
  'int ioctl(int fd, unsigned long request, void *argument)',
)
const libcLseek = native<
  ((fd: number, offset: number, whence: number) => number) & {
    async(fd: number, offset: number, whence: number, settled: Settled): void
  }
>('int64_t lseek(int fd, int64_t offset, int whence)')
const libcFallocate = native<
  ((fd: number, mode: number, offset: number, length: number) => number) & {
    async(fd: number, mode: number, offset: number, length: number, settled: Settled): void
  }
>('int fallocate(int fd, int mode, int64_t offset, int64_t length)')
const libcSocketpair = native<(d: number, type: number, protocol: number, fds: Pointer) => number>(
  'int socketpair(int domain, int type, int protocol, void *fds)',
)
const libcShutdown = native<(fd: number, how: number) => number>('int shutdown(int fd, int how)')
const libcSetsockopt = native<
  (fd: number, level: number, name: number, value: Pointer, length: number) => number
>('int setsockopt(int fd, int level, int name, void *value, unsigned int length)')
const libcSend = native<(fd: number, at: number, length: number, flags: number) => number>(
  'int64_t send(int fd, intptr_t at, size_t length, int flags)',
)
const libcMemcpy = native<(to: number, from: number, length: number) => number>(
  'intptr_t memcpy(intptr_t to, intptr_t from, size_t length)',
)
const libcPoll = native<(fds: Pointer, count: number, timeoutMs: number) => number>(
  'int poll(void *fds, unsigned long count, int timeoutMs)',
)
const napiAdjustExternalMemory = native<(env: unknown, change: number, result: number[]) => number>(
  'int napi_adjust_external_memory(void *env, int64_t change, _Out_ int64_t *result)',
)

/** What a libc call returned, as the kernel's result or a negative errno. */
export const fromErrno = (result: number): number => (result === -1 ? -koffi.errno() : result)

/**
 * Throws for a negative result, naming the call and the errno; for set-up, not for the data path.
 */
export function check(result: number, call: string): number {
  if (result >= 0) return result
  const code = getSystemErrorName(result)
  throw Object.assign(new Error(`${call}: ${code}`), { code, errno: result })
}

/**
 * Address of a view's first byte. The view must be over an explicit ArrayBuffer: small typed arrays
 * may live on the moving heap.
 */
export function addressOf(view: ArrayBufferView): number {
  return Number(koffi.address(view))
}

/**
 * The bytes at `address` as JavaScript sees them; the caller keeps them mapped for as long as the
 * view is used. V8 takes them for memory that it could free by collecting garbage, which it would
 * try at once, some 20 ms long, whenever there are 64 MiB more of them: so they are taken off its
 * account. They are not put on it again when the view ends, which would be the exact thing: on the
 * stack of a foreign function V8 must not be brought to collect.
 */
export function viewOf(address: number, length: number): ArrayBuffer {
  const view = koffi.view(BigInt(address), length)
  const status = napiAdjustExternalMemory(koffi.node.env, -length, [0])
  assert(status === 0, 'external memory cannot be accounted for')
  return view
}

// Memory: mmap(2), madvise(2)

export const MAP_SHARED = 0x1
export const MAP_PRIVATE = 0x2
export const MAP_ANONYMOUS = 0x20
export const MAP_POPULATE = 0x8000
export const MADV_DONTNEED = 4
const PROT_READ_WRITE = 3

/** Maps for reading and writing; returns the address. */
export function mmap(length: number, flags: number, fd: number, offset: number): number {
  return fromErrno(libcMmap(0, length, PROT_READ_WRITE, flags, fd, offset))
}
export function munmap(address: number, length: number): number {
  return fromErrno(libcMunmap(address, length))
}
/** Copies between two places that do not overlap. */
export function copyMemory(to: number, from: number, length: number): void {
  libcMemcpy(to, from, length)
}
export function madvise(address: number, length: number, advice: number): number {
  return fromErrno(libcMadvise(address, length, advice))
}

// File descriptors

const F_GETFL = 3
const F_SETFL = 4
const F_DUPFD_CLOEXEC = 1030
const O_NONBLOCK = 0o4000
const EFD_CLOEXEC = 0o2000000

export function close(fd: number): number {
  return fromErrno(libcClose(fd))
}
/** A blocking, close-on-exec counter. */
export function eventfd(): number {
  return fromErrno(libcEventfd(0, EFD_CLOEXEC))
}
/**
 * A second descriptor of the same open file, so that two owners can close it independently. Status
 * flags stay shared.
 */
export function duplicate(fd: number): number {
  return fromErrno(libcFcntl(fd, F_DUPFD_CLOEXEC, 3))
}
/** Sets or clears O_NONBLOCK. */
export function setNonBlocking(fd: number, isNonBlocking: boolean): number {
  const flags = fromErrno(libcFcntl(fd, F_GETFL, 0))
  if (flags < 0) return flags
  const wanted = isNonBlocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK
  return wanted === flags ? 0 : fromErrno(libcFcntl(fd, F_SETFL, wanted))
}

// pread(2), pwrite(2), fdatasync(2): for files in memory, where nothing is waited for

export function pread(fd: number, address: number, length: number, offset: number): number {
  return fromErrno(libcPread(fd, address, length, offset))
}
export function pwrite(fd: number, address: number, length: number, offset: number): number {
  return fromErrno(libcPwrite(fd, address, length, offset))
}
export function fdatasync(fd: number): number {
  return fromErrno(libcFdatasync(fd))
}

// ioctl(2). The size of the answer is in the name of the function.

export const FIONREAD = 0x541b
export const BLKROGET = 0x125e
export const BLKSSZGET = 0x1268
export const BLKPBSZGET = 0x127b
export const BLKROTATIONAL = 0x127e
export const BLKGETSIZE64 = 0x80081272

const answer = new BigUint64Array(1)
const answer32 = new Uint32Array(answer.buffer)
const answer16 = new Uint16Array(answer.buffer)

function ioctl(fd: number, request: number): number {
  answer[0] = 0n
  return fromErrno(libcIoctl(fd, request, answer))
}
/** For BLKROTATIONAL. */
export function ioctl16(fd: number, request: number): number {
  const result = ioctl(fd, request)
  return result < 0 ? result : answer16[0]!
}
/** For FIONREAD, BLKROGET, BLKSSZGET and BLKPBSZGET. */
export function ioctl32(fd: number, request: number): number {
  const result = ioctl(fd, request)
  return result < 0 ? result : answer32[0]!
}
/** For BLKGETSIZE64. */
export function ioctl64(fd: number, request: number): number {
  const result = ioctl(fd, request)
  return result < 0 ? result : Number(answer[0])
}

// fallocate(2)

export const FALLOC_FL_KEEP_SIZE = 1
export const FALLOC_FL_PUNCH_HOLE = 2
export const FALLOC_FL_ZERO_RANGE = 16

export function fallocate(fd: number, mode: number, offset: number, length: number): number {
  return fromErrno(libcFallocate(fd, mode, offset, length))
}
/** The same on libuv's thread pool. */
export function fallocateAsync(
  fd: number,
  mode: number,
  offset: number,
  length: number,
  settled: (result: number) => void,
): void {
  libcFallocate.async(fd, mode, offset, length, (error, result) => {
    assert(error === null, 'fallocate: the foreign call itself cannot fail')
    settled(fromErrno(result))
  })
}

// lseek(2)

export function lseek(fd: number, offset: number, whence: number): number {
  return fromErrno(libcLseek(fd, offset, whence))
}
/** The same on libuv's thread pool: looking for a hole may take long. */
export function lseekAsync(
  fd: number,
  offset: number,
  whence: number,
  settled: (result: number) => void,
): void {
  libcLseek.async(fd, offset, whence, (error, result) => {
    assert(error === null, 'lseek: the foreign call itself cannot fail')
    settled(fromErrno(result))
  })
}

// Sockets

const AF_UNIX = 1
const SOCK_STREAM_CLOEXEC = 1 | 0o2000000
const SHUT_RDWR = 2
const MSG_DONTWAIT = 0x40
const MSG_NOSIGNAL = 0x4000
const SOL_SOCKET = 1
const SO_LINGER = 13

/** Two connected stream sockets; throws. */
export function socketpair(): [number, number] {
  const fds = new Int32Array(2)
  check(fromErrno(libcSocketpair(AF_UNIX, SOCK_STREAM_CLOEXEC, 0, fds)), 'socketpair')
  return [fds[0]!, fds[1]!]
}
/**
 * Ends both directions: whoever waits on the socket stops waiting. What was sent already still
 * leaves.
 */
export function shutdown(fd: number): number {
  return fromErrno(libcShutdown(fd, SHUT_RDWR))
}
/** Sends what can leave without waiting. */
export function sendNow(fd: number, address: number, length: number): number {
  return fromErrno(libcSend(fd, address, length, MSG_DONTWAIT | MSG_NOSIGNAL))
}
/** With 0 seconds, close(2) resets the connection instead of ending it in order. */
export function setLinger(fd: number, seconds: number): number {
  return fromErrno(libcSetsockopt(fd, SOL_SOCKET, SO_LINGER, new Int32Array([1, seconds]), 8))
}
const POLLERR_HUP_RDHUP = 0x8 | 0x10 | 0x2000

/**
 * Whether the peer of a connected socket has ended its side or reset it, also when there is still
 * something to read.
 */
export function peerHasClosed(fd: number): boolean {
  // struct pollfd: int fd, short events, short revents
  const pollfd = new Int32Array([fd, 0x2000])
  check(fromErrno(libcPoll(pollfd, 1, 0)), 'poll')
  return ((pollfd[1]! >>> 16) & POLLERR_HUP_RDHUP) !== 0
}
