/** What other programs say, read: fio, its log, /proc, and the benchmark's own command line. */
import { readdirSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { CATALOGUE } from '../../src/bench/catalogue.ts'
import { MARKS } from '../../src/bench/marks.ts'
import { fixture, parseFio } from '../../src/bench/measure/fio.ts'
import { GuestWrites, parseLog } from '../../src/bench/measure/guest.ts'
import { parseCpuSeconds, parseMemoryUse } from '../../src/bench/measure/usage.ts'
import { HELP, listText, readOptions } from '../../src/bench/options.ts'
import { UsageError } from '../../src/cli/exit-codes.ts'

const DIRECTION = {
  total_ios: 3,
  io_bytes: 12_288,
  iops: 300,
  bw_bytes: 1_228_800,
  clat_ns: { bins: { 1000: 2, 9000: 1 } },
}
const NOTHING = { total_ios: 0, io_bytes: 0, iops: 0, bw_bytes: 0, clat_ns: {} }

function output(job: object): string {
  return `fio: connected to NBD server\n${JSON.stringify({ jobs: [job] })}`
}

describe('fio', () => {
  test('reads and writes are added up, and what stands before the JSON is skipped', () => {
    const measured = parseFio(output({ error: 0, read: DIRECTION, write: DIRECTION }))
    expect(measured).toMatchObject({ requests: 6, bytes: 24_576, iops: 600 })
    expect(measured.latencies.total).toBe(6)
    expect(measured.latencies.microseconds(0.5)).toBe(1)
    expect(measured.latencies.microseconds(1)).toBe(9)
  })

  test('an error, or not one answer, is no measurement', () => {
    const failed = output({ error: 5, read: DIRECTION, write: NOTHING })
    expect(() => parseFio(failed)).toThrow('failed with 5')
    expect(() => parseFio(output({ error: 0, read: NOTHING, write: NOTHING }))).toThrow('nothing')
  })

  test('a guest’s log can be looked at for a part of its life', () => {
    const writes = new GuestWrites(parseLog('1000, 5000, 1, 4096, 0\n1500, 9000, 1, 4096, 0\n'))
    expect(writes.between(0, 1500).total).toBe(1)
    expect(writes.between(1500, 1501).microseconds(1)).toBe(9)
    expect(writes.iops(1000, 2000)).toBe(2)
  })

  test('every load that is used is a fixture', () => {
    const folder = fixture('nbd').replace(/nbd\.fio$/, '')
    const names = readdirSync(folder).filter(name => name.endsWith('.fio'))
    expect(names.sort()).toEqual(['file.fio', 'guest.fio', 'nbd.fio'])
  })
})

describe('/proc', () => {
  test('processor time is user and system time, whatever the command is called', () => {
    const stat = '42 (a) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 7 7 20 0 3 0 100 0 0'
    expect(parseCpuSeconds(stat)).toBe(2)
  })

  test('memory comes in bytes, with shared mappings by themselves', () => {
    const rollup = '00-ff ---p 00 00:00 0 [rollup]\nRss:  300 kB\nPss:  200 kB\nPss_Anon: 100 kB\n'
    const status = 'Name: x\nVmRSS:   300 kB\nRssShmem:      32 kB\n'
    expect(parseMemoryUse(rollup, status)).toEqual({
      rss: 307_200,
      pss: 204_800,
      shared: 32_768,
    })
    expect(() => parseMemoryUse('', status)).toThrow('Rss')
  })
})

describe('command line', () => {
  test('without a name all scenarios run; names keep the order of the catalogue', () => {
    expect(readOptions([]).scenarios).toEqual(CATALOGUE)
    const names = readOptions(['mirror-idle', 'serve-4k', '--quick']).scenarios
    expect(names.map(({ name }) => name)).toEqual(['serve-4k', 'mirror-idle'])
  })

  test('a quick run without a name takes what has a mark', () => {
    const names = readOptions(['--quick']).scenarios.map(({ name }) => name)
    const judged = new Set(MARKS.map(({ of }) => of.scenario))
    expect(new Set(names)).toEqual(judged)
    expect(names.length).toBeLessThan(CATALOGUE.length)
  })

  test('a wrong word gets a sentence that says what to do', () => {
    expect(() => readOptions(['serve-4q'])).toThrow('did you mean serve-4k?')
    expect(() => readOptions(['nonsense'])).toThrow('--list')
    expect(() => readOptions(['--fast'])).toThrow(UsageError)
    expect(() => readOptions(['--json'])).toThrow('--help')
  })

  test('the examples in the help parse as they stand', () => {
    const examples = HELP.split('\n').filter(line => line.startsWith('  scripts/bench'))
    expect(examples.length).toBeGreaterThan(3)
    for (const example of examples) readOptions(example.trim().split(' ').slice(1))
  })

  test('names are listed once each, and say what they do not show', () => {
    const names = CATALOGUE.map(({ name }) => name)
    expect(new Set(names).size).toBe(names.length)
    for (const { name, shows, doesNotShow } of CATALOGUE) {
      expect(listText()).toContain(name)
      expect([name, shows.endsWith('.'), doesNotShow.endsWith('.')]).toEqual([name, true, true])
    }
  })
})
