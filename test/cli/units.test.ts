/** Sizes, rates and times: what is read, what is refused, and that what is printed reads back. */
import { expect, test } from 'vitest'
import {
  formatDuration,
  formatRate,
  formatSize,
  parseRate,
  parseSize,
} from '../../src/cli/units.ts'

test.each([
  ['0', 0],
  ['512', 512],
  ['64K', 65536],
  ['64k', 65536],
  ['64KiB', 65536],
  ['1GiB', 2 ** 30],
  ['1.5G', 1.5 * 2 ** 30],
  ['16T', 16 * 2 ** 40],
  ['1PiB', 2 ** 50],
])('the size %s is %d bytes', (text, bytes) => {
  expect(parseSize(text)).toBe(bytes)
})

test.each([
  '',
  'K',
  '-1',
  '1e3',
  '64KB',
  '512B',
  '512iB',
  '1 K',
  '0.3K',
  '9999999P',
  '0x10',
  '1.',
  '٣',
])('%j is no size', text => {
  expect(parseSize(text)).toBeUndefined()
})

test.each([
  ['0', 0],
  ['100M', 100 * 2 ** 20],
  ['100MiB/s', 100 * 2 ** 20],
  ['800Mbit', 100_000_000],
  ['800mbit/s', 100_000_000],
  ['1.5Gbit', 187_500_000],
  ['64Kbit', 8000],
  ['8bit', 1],
])('the rate %s is %d bytes per second', (text, rate) => {
  expect(parseRate(text)).toBe(rate)
})

test.each(['', '/s', '-1M', '7bit', '0bit', '100MB', '1Tbit', 'fast'])('%j is no rate', text => {
  expect(parseRate(text)).toBeUndefined()
})

test.each([
  [0, '0 B'],
  [512, '512 B'],
  [1023, '1023 B'],
  [1024, '1 KiB'],
  [65536, '64 KiB'],
  [1536, '1.5 KiB'],
  [2 ** 20 - 1, '1 MiB'],
  [2 ** 30, '1 GiB'],
  [8 * 2 ** 40, '8 TiB'],
  [2 ** 53, '8 PiB'],
])('%d bytes are printed as %s', (bytes, text) => {
  expect(formatSize(bytes)).toBe(text)
  expect(formatRate(bytes)).toBe(`${text}/s`)
})

test('a size that is printed without rounding reads back as itself', () => {
  for (let exponent = 10; exponent <= 50; exponent += 1) {
    for (const bytes of [2 ** exponent, 1.5 * 2 ** exponent]) {
      expect(parseSize(formatSize(bytes).replace(' ', ''))).toBe(bytes)
    }
  }
})

test.each([
  [0, '0 ms'],
  [35.4, '35 ms'],
  [999.6, '1.0 s'],
  [4200, '4.2 s'],
  [59_949, '59.9 s'],
  [59_960, '1:00'],
  [75_000, '1:15'],
  [3_599_900, '1:00:00'],
  [7_384_000, '2:03:04'],
  [360_000_000, '100:00:00'],
])('%d ms are printed as %s', (ms, text) => {
  expect(formatDuration(ms)).toBe(text)
})
