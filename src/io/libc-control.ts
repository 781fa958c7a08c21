/**
 * Foreign functions that only control paths use: ioctls with a buffer, options of sockets, netlink
 * sockets, device nodes. The convention is that of `libc`: the kernel's result or a negative errno,
 * nothing thrown. What may wait in the kernel runs on libuv's thread pool; its buffer is borrowed
 * until it settles.
 */
import assert from 'node:assert'
import { close, fromErrno, native } from './libc.ts'

type Settled = (error: Error | null, result: number) => void

const libcIoctl = native<{
  async(fd: number, request: number, argument: Uint8Array, settled: Settled): void
}>('int ioctl(int fd, unsigned long request, void *argument)')
const libcSocket = native<(domain: number, type: number, protocol: number) => number>(
  'int socket(int domain, int type, int protocol)',
)
const libcBind = native<(fd: number, address: ArrayBufferView, length: number) => number>(
  'int bind(int fd, const void *address, unsigned int length)',
)
const libcSetsockopt = native<
  (fd: number, level: number, name: number, value: ArrayBufferView, length: number) => number
>('int setsockopt(int fd, int level, int name, const void *value, unsigned int length)')
const libcSend = native<{
  async(fd: number, bytes: Uint8Array, length: number, flags: number, settled: Settled): void
}>('long send(int fd, const void *bytes, size_t length, int flags)')
const libcRecv = native<(fd: number, bytes: Uint8Array, length: number, flags: number) => number>(
  'long recv(int fd, void *bytes, size_t length, int flags)',
)
const libcPoll = native<{
  async(fds: ArrayBufferView, count: number, timeoutMs: number, settled: Settled): void
}>('int poll(void *fds, unsigned long count, int timeoutMs)')
const libcMknod = native<(path: string, mode: number, device: number) => number>(
  'int mknod(const char *path, unsigned int mode, uint64_t device)',
)

const libcMallocTrim = native<(spare: number) => number>('int malloc_trim(size_t spare)')

/** malloc_trim(3): gives the kernel back what has been freed, in all threads. */
export function trimMemory(): void {
  libcMallocTrim(0)
}

/** Hands on the result of a call. Until then `borrowed` stays alive. */
const settling =
  (borrowed: ArrayBufferView, settled: (result: number) => void): Settled =>
  (error, result) => {
    assert(error === null && borrowed.byteLength > 0, 'a foreign call itself cannot fail')
    settled(fromErrno(result))
  }

/**
 * Any ioctl that fills or reads a buffer, on libuv's thread pool: it may wait for as long as the
 * kernel likes. `argument` must not be touched before `settled`.
 */
export function ioctlAsync(
  fd: number,
  request: number,
  argument: Uint8Array,
  settled: (result: number) => void,
): void {
  libcIoctl.async(fd, request, argument, settling(argument, settled))
}

// Sockets

const SOL_SOCKET = 1
const SO_SNDBUF = 7
const SO_SNDBUFFORCE = 32

/**
 * How much may wait in a socket to be sent (bytes). Root may ask for more than the system's limit;
 * others get what it allows.
 */
export function setSendBuffer(fd: number, length: number): number {
  const value = new Int32Array([length])
  const forced = fromErrno(libcSetsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, value, 4))
  return forced < 0 ? fromErrno(libcSetsockopt(fd, SOL_SOCKET, SO_SNDBUF, value, 4)) : forced
}

// Netlink sockets

const AF_NETLINK = 16
const SOCK_RAW_CLOEXEC = 3 | 0o2000000
const SOL_NETLINK = 270
const MSG_DONTWAIT = 0x40
const MSG_TRUNC = 0x20
const POLLIN = 0x1

/** A raw netlink socket with an address that the kernel chose. */
export function netlinkSocket(protocol: number): number {
  const fd = fromErrno(libcSocket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol))
  if (fd < 0) return fd
  // struct sockaddr_nl: u16 family, u16 pad, u32 pid, u32 groups
  const address = new Uint16Array([AF_NETLINK, 0, 0, 0, 0, 0])
  const result = fromErrno(libcBind(fd, address, address.byteLength))
  if (result >= 0) return fd
  close(fd)
  return result
}
export function setNetlinkOption(fd: number, name: number, value: number): number {
  return fromErrno(libcSetsockopt(fd, SOL_NETLINK, name, new Int32Array([value]), 4))
}
/**
 * Sends one message on libuv's thread pool: the kernel does what a netlink message asks for inside
 * this call. `bytes` must not be touched before `settled`.
 */
export function sendAsync(fd: number, bytes: Uint8Array, settled: (result: number) => void): void {
  libcSend.async(fd, bytes, bytes.byteLength, 0, settling(bytes, settled))
}
/**
 * The next message without waiting. Returns its whole length, also where it did not fit; -EAGAIN
 * if there is none.
 */
export function receiveNow(fd: number, bytes: Uint8Array): number {
  return fromErrno(libcRecv(fd, bytes, bytes.byteLength, MSG_DONTWAIT | MSG_TRUNC))
}
/**
 * Settles with 1 once `fd` has something to read, with 0 after `timeoutMs`; occupies a pool thread.
 */
export function pollReadableAsync(
  fd: number,
  timeoutMs: number,
  settled: (result: number) => void,
): void {
  const pollfd = new Int32Array([fd, POLLIN])
  libcPoll.async(pollfd, 1, timeoutMs, settling(pollfd, settled))
}

// Device nodes

const S_IFCHR = 0o020000
const S_IFBLK = 0o060000

/** Makes a device node for root alone. */
export function makeDeviceNode(
  path: string,
  kind: 'character' | 'block',
  major: number,
  minor: number,
): number {
  // glibc's dev_t: the low 12 bits of the major lie from bit 8, the low 8 of the minor from bit 0.
  const device = (major & 0xfff) * 0x100 + (minor & 0xff) + (minor >>> 8) * 0x100000
  return fromErrno(libcMknod(path, (kind === 'block' ? S_IFBLK : S_IFCHR) | 0o600, device))
}
