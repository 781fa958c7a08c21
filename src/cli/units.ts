/**
 * Sizes, rates and times between people and numbers. Letters are binary as in qemu-img and nbdcopy
 * (K is 1024), bits are decimal as networks count them. What is printed with a unit can be read
 * back.
 */

const LETTERS = 'KMGTP'
const SIZE = /^(\d+(?:\.\d+)?)([KMGTP])?(?:iB)?$/i
const BITS = /^(\d+(?:\.\d+)?)([KMG])?bit$/i

/** Bytes of `512`, `64K`, `1.5GiB`; undefined if it is no size or no whole number of bytes. */
export function parseSize(text: string): number | undefined {
  const [, digits, letter] = SIZE.exec(text) ?? []
  if (digits === undefined || (letter === undefined && /b$/i.test(text))) return undefined
  const bytes = Number(digits) * 1024 ** power(letter)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Bytes per second of `100M`, `100MiB/s` or `800Mbit`; undefined if it is no rate. */
export function parseRate(text: string): number | undefined {
  const rate = text.replace(/\/s$/i, '')
  const [, digits, letter] = BITS.exec(rate) ?? []
  if (digits === undefined) return parseSize(rate)
  const bytes = Math.floor((Number(digits) * 1000 ** power(letter)) / 8)
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined
}

/** `512 B`, `64 KiB`, `1.5 GiB`: at most one decimal, and never 1024 of a unit. */
export function formatSize(bytes: number): string {
  let value = bytes
  let unit = -1
  while (Number(value.toFixed(1)) >= 1024 && unit < LETTERS.length - 1) {
    value /= 1024
    unit += 1
  }
  if (unit < 0) return `${Math.round(bytes)} B`
  return `${value.toFixed(1).replace(/\.0$/, '')} ${LETTERS[unit]}iB`
}

/** `100 MiB/s`. */
export function formatRate(bytesPerSecond: number): string {
  return `${formatSize(bytesPerSecond)}/s`
}

/** `35 ms`, `4.2 s`, `1:15`, `2:03:04`. */
export function formatDuration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  const hours = Math.floor(seconds / 3600)
  const minutes = Math.floor(seconds / 60) % 60
  const parts = hours > 0 ? [hours, pad(minutes)] : [minutes]
  return [...parts, pad(seconds % 60)].join(':')
}

function power(letter: string | undefined): number {
  return letter === undefined ? 0 : LETTERS.indexOf(letter.toUpperCase()) + 1
}

function pad(value: number): string {
  return String(value).padStart(2, '0')
}
