import { expect, it } from 'vitest'
import { FlushLog, LOG_ENTRY_BYTES, LOG_HEADER_BYTES } from '../../src/mirror/flush-log.ts'

const storageOf = (entries: number) => new Uint8Array(LOG_HEADER_BYTES + entries * LOG_ENTRY_BYTES)

function drained(log: FlushLog): [number, number][] {
  const runs: [number, number][] = []
  log.drain((first, end) => runs.push([first, end]))
  return runs
}

it('holds what was appended until it is flushed, also for whoever opens it anew', () => {
  const storage = storageOf(8)
  const log = new FlushLog(storage)
  log.append(1, 3)
  log.append(5, 6)
  expect(drained(new FlushLog(storage))).toEqual([
    [1, 3],
    [5, 6],
  ])
})

it('a flush covers what was appended before it was submitted, and nothing later', () => {
  const log = new FlushLog(storageOf(8))
  log.append(1, 2)
  const snapshot = log.snapshot()
  log.append(3, 4)
  log.flushed(snapshot)
  expect(drained(log)).toEqual([[3, 4]])
})

it('a run that is logged already is logged again once a flush is under way', () => {
  const log = new FlushLog(storageOf(8))
  log.append(0, 4)
  log.append(1, 2)
  expect(log.count).toBe(1)
  const snapshot = log.snapshot()
  log.append(1, 2)
  log.flushed(snapshot)
  expect(drained(log)).toEqual([[1, 2]])
})

it('refuses a run that there is no room for', () => {
  const log = new FlushLog(storageOf(2))
  expect([log.append(0, 1), log.append(2, 3), log.append(4, 5)]).toEqual([true, true, false])
  log.flushed(log.snapshot())
  expect(log.append(4, 5)).toBe(true)
})

it('a flush from before a loss, or one that was overtaken, takes nothing away', () => {
  const log = new FlushLog(storageOf(4))
  log.append(0, 1)
  const older = log.snapshot()
  log.append(2, 3)
  const younger = log.snapshot()
  log.flushed(younger)
  log.append(4, 5)
  log.flushed(older)
  expect(drained(log)).toEqual([[4, 5]])
  log.append(6, 7)
  log.flushed(younger)
  expect(drained(log)).toEqual([[6, 7]])
})

it('goes round and past 2^32', () => {
  const storage = storageOf(4)
  new Uint32Array(storage.buffer).fill(0xffff_fffe, 0, 2)
  const log = new FlushLog(storage)
  for (let i = 0; i < 20; i++) {
    log.append(2 * i, 2 * i + 1)
    expect(log.count).toBe(1)
    if (i % 2 === 0) log.flushed(log.snapshot())
    else expect(drained(log)).toEqual([[2 * i, 2 * i + 1]])
  }
})
