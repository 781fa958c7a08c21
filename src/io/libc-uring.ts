/**
 * The foreign functions of an engine that blocks its thread: io_uring, and libuv's view of this
 * thread's event loop. Conventions as in `libc`.
 */
import assert from 'node:assert'
import koffi from 'koffi'
import { fromErrno, native } from './libc.ts'

// io_uring: the numbers are the same on every architecture.

const syscallSetup = native<(n: number, entries: number, params: Uint32Array) => number>(
  'long syscall(long number, long entries, void *params)',
)
const syscallEnter = native<
  (
    n: number,
    fd: number,
    submit: number,
    wait: number,
    flags: number,
    arg: number,
    size: number,
  ) => number
>('long syscall(long number, long fd, long submit, long wait, long flags, long arg, long size)')

const SYS_IO_URING_SETUP = 425
const SYS_IO_URING_ENTER = 426

/** `params` is a struct io_uring_params (120 bytes); returns the ring's fd. */
export function ioUringSetup(entries: number, params: Uint32Array): number {
  return fromErrno(syscallSetup(SYS_IO_URING_SETUP, entries, params))
}
/**
 * `argument` is the address of a struct io_uring_getevents_arg. Returns how many entries it took.
 */
export function ioUringEnter(
  fd: number,
  submit: number,
  wait: number,
  flags: number,
  argument: number,
  argumentSize: number,
): number {
  return fromErrno(
    syscallEnter(SYS_IO_URING_ENTER, fd, submit, wait, flags, argument, argumentSize),
  )
}

// The event loop of the calling thread (libuv), for an engine that blocks in place of it.

const getEventLoop = native<(env: unknown, loop: (number | bigint | null)[]) => number>(
  'int napi_get_uv_event_loop(void *env, _Out_ void **loop)',
)
const uvBackendFd = native<(loop: number) => number>('int uv_backend_fd(intptr_t loop)')
const uvBackendTimeout = native<(loop: number) => number>('int uv_backend_timeout(intptr_t loop)')

/** Handle of this thread's event loop. */
export function eventLoopOfThread(): number {
  const loop: (number | bigint | null)[] = [null]
  const status = getEventLoop(koffi.node.env, loop)
  assert(status === 0 && loop[0], 'this thread has no event loop')
  return Number(loop[0])
}
/** The epoll fd on which the loop waits: readable as soon as the loop has something to do. */
export function eventLoopFd(loop: number): number {
  return uvBackendFd(loop)
}
/**
 * How long the loop itself would wait (ms, from the start of its iteration): 0 if it has work now,
 * -1 for ever.
 */
export function eventLoopTimeout(loop: number): number {
  return uvBackendTimeout(loop)
}
