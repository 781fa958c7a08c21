/** Tables as values: what is formatted parses back, and what is not ours stays word for word. */
import { describe, expect, test } from 'vitest'
import {
  devicesOf,
  errorTable,
  formatMapping,
  linearTable,
  multipathTable,
  parseMapping,
  type Table,
  tableLength,
} from '../../src/host/dm-table.ts'

test('the words are those that were measured', () => {
  expect(formatMapping(multipathTable('/dev/nbd0', 8)[0]!)).toEqual({
    start: 0,
    length: 8,
    kind: 'multipath',
    parameters: '3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 1 1 /dev/nbd0 1',
  })
  const linear = formatMapping(linearTable('254:3', 2048, 384)[0]!)
  expect(linear).toEqual({ start: 0, length: 2048, kind: 'linear', parameters: '254:3 384' })
  expect(formatMapping(errorTable(8)[0]!).parameters).toBe('')
})

test('what is formatted parses back to the same', () => {
  const tables: Table[] = [
    linearTable('8:1', 100, 7),
    multipathTable('43:0', 100),
    [{ type: 'multipath', start: 5, length: 9, paths: ['43:0', '254:2'] }],
    errorTable(1),
    [{ type: 'other', start: 0, length: 4, kind: 'striped', parameters: '2 128 8:1 0 8:2 0' }],
  ]
  for (const table of tables) expect(table.map(formatMapping).map(parseMapping)).toEqual(table)
})

test("the kernel's form of a multipath line, with a blank at its end, is ours", () => {
  const parameters = '3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 1 1 43:0 1 '
  const mapping = parseMapping({ start: 0, length: 8, kind: 'multipath', parameters })
  expect(mapping).toEqual({ type: 'multipath', start: 0, length: 8, paths: ['43:0'] })
})

test('a line that is not wholly ours is kept as it is', () => {
  for (const [kind, parameters] of [
    ['multipath', '1 queue_if_no_path 0 1 1 round-robin 0 1 1 43:0 1'],
    ['multipath', '3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 2 1 43:0 1'],
    ['multipath', '3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0 0 1'],
    ['linear', '8:1'],
    ['linear', '8:1 0 1 extra'],
    ['snapshot', '8:1 8:2 P 16'],
  ] as const) {
    const line = { start: 0, length: 8, kind, parameters }
    expect(parseMapping(line)).toEqual({ type: 'other', ...line })
    expect(formatMapping(parseMapping(line))).toEqual(line)
  }
})

describe('refusals', () => {
  test('a device with blanks in its name', () => {
    expect(() => formatMapping(linearTable('/dev/my disk', 8)[0]!)).toThrow('major:minor')
    expect(() => formatMapping(multipathTable('', 8)[0]!)).toThrow('major:minor')
  })

  test('a gap, an overlap, nothing at all, and sectors that are no count', () => {
    const piece = (start: number, length: number): Table => [{ type: 'error', start, length }]
    expect(tableLength([...piece(0, 8), ...piece(8, 2)])).toBe(10)
    for (const table of [
      piece(1, 8),
      [...piece(0, 8), ...piece(9, 2)],
      [...piece(0, 8), ...piece(7, 2)],
      [],
      piece(0, 0),
      piece(0, 1.5),
      piece(0, -8),
    ]) {
      expect(() => tableLength(table)).toThrow('map every sector once')
    }
  })
})

test('the devices below a table come once each', () => {
  const table: Table = [
    ...linearTable('8:1', 8),
    ...linearTable('8:1', 8),
    ...linearTable('8:2', 8),
  ]
  expect(devicesOf(table)).toEqual(['8:1', '8:2'])
  expect(devicesOf(multipathTable('43:0', 8))).toEqual(['43:0'])
  expect(devicesOf(errorTable(8))).toEqual([])
})
