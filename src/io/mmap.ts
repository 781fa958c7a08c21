/**
 * Pages from the kernel as `Memory`. Whoever maps unmaps; the engines and everybody else borrow. A
 * view used after `unmap` kills the process (there is no way to detach it), so owners drop their
 * views first.
 */
import assert from 'node:assert'
import {
  check,
  MADV_DONTNEED,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  MAP_SHARED,
  madvise,
  mmap,
  munmap,
  viewOf,
} from './libc.ts'
import { type Memory, PAGE_SIZE } from './memory.ts'

const mapped = new WeakSet<Memory>()

/**
 * Zeroed, page-aligned memory of this process; pages are taken when they are touched. Throws if
 * there is none.
 */
export function mapAnonymous(length: number): Memory {
  return map(length, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
}

/**
 * A file's bytes themselves: what is stored here is in the file at once, also after kill -9. The fd
 * may be closed afterwards. The file must be at least `length` bytes long: touching a page beyond
 * its end kills the process.
 */
export function mapShared(fd: number, length: number): Memory {
  return map(length, MAP_SHARED, fd, 0)
}

/** Like `mapShared`, for any fd, flags and offset. */
export function map(length: number, flags: number, fd: number, offset: number): Memory {
  assert(Number.isSafeInteger(length) && length > 0, 'mmap: length is a positive integer')
  const address = check(mmap(length, flags, fd, offset), 'mmap')
  const memory = { bytes: new Uint8Array(viewOf(address, length)), address }
  mapped.add(memory)
  return memory
}

/**
 * Ends a mapping made here. Nothing may be under way in it, and no view of it may be used any more.
 */
export function unmap(memory: Memory): void {
  assert(mapped.delete(memory), 'mmap: not mapped, or unmapped already')
  check(munmap(memory.address, memory.bytes.length), 'munmap')
}

/**
 * Gives the whole pages within `length` bytes from `address` back to the kernel; they read as
 * zeroes afterwards.
 */
export function releasePages(address: number, length: number): void {
  assert(address % PAGE_SIZE === 0 && length % PAGE_SIZE === 0, 'mmap: whole pages only')
  check(madvise(address, length, MADV_DONTNEED), 'madvise')
}
