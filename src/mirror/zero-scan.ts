/**
 * Tells whether memory is all zero: the copier asks that of everything it reads, so it looks at 8
 * bytes at a time and stops early.
 */
import type { Memory } from '../io/memory.ts'

/** True if all `length` bytes from `at` on are 0. */
export function isZero({ bytes }: Memory, at: number, length: number): boolean {
  const end = at + length
  // Data seldom starts with zeroes: most answers come from here.
  if (bytes[at] !== 0 || bytes[end - 1] !== 0) return false
  let from = at
  while (((bytes.byteOffset + from) & 7) !== 0 && from < end) {
    if (bytes[from++] !== 0) return false
  }
  if (from === end) return true
  // As integers: a float of 0 could also be the bits of -0.
  const words = new Int32Array(bytes.buffer, bytes.byteOffset + from, (end - from) >>> 2)
  let word = 0
  for (const limit = words.length - 3; word < limit; word += 4) {
    if ((words[word]! | words[word + 1]! | words[word + 2]! | words[word + 3]!) !== 0) return false
  }
  for (; word < words.length; word++) if (words[word] !== 0) return false
  for (from += words.length * 4; from < end; from++) if (bytes[from] !== 0) return false
  return true
}
