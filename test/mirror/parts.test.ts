import { describe, expect, it } from 'vitest'
import { MemoryDevice } from '../../src/block/memory.ts'
import { Deadline, Deadlines } from '../../src/mirror/deadlines.ts'
import { FlushLog, LOG_ENTRY_BYTES, LOG_HEADER_BYTES } from '../../src/mirror/flush-log.ts'
import { FLUSH_BYTES, FLUSH_MS, FlushSchedule } from '../../src/mirror/flush-schedule.ts'
import { etaSeconds } from '../../src/mirror/job-status.ts'
import { RateMeter } from '../../src/mirror/rate-meter.ts'
import { targetProblem } from '../../src/mirror/target-check.ts'
import {
  FAILURE_MEMORY_MS,
  FAILURES_MAX,
  PLACE_BYTES,
  SAME_STALL_MS,
  SILENCE_MS_MAX,
  TargetRecord,
} from '../../src/mirror/target-record.ts'
import { TokenBucket } from '../../src/mirror/token-bucket.ts'
import { isZero } from '../../src/mirror/zero-scan.ts'
import { heapMemory } from '../support/requests.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

describe('zero scan', () => {
  it('sees a bit anywhere, at any alignment and length', () => {
    for (const at of [0, 1, 3, 4, 7]) {
      for (const length of [1, 2, 7, 8, 31, 64, 101]) {
        const memory = heapMemory(128)
        memory.bytes.fill(0xff, 0, at)
        memory.bytes.fill(0xff, at + length)
        expect(isZero(memory, at, length)).toBe(true)
        for (let position = at; position < at + length; position++) {
          memory.bytes[position] = 0x80
          expect(isZero(memory, at, length), `${position} of ${at}+${length}`).toBe(false)
          memory.bytes[position] = 0
        }
      }
    }
  })
})

describe('token bucket', () => {
  it('without a rate never makes anybody wait', () => {
    const bucket = new TokenBucket()
    bucket.spend(1e12, 0)
    expect(bucket.delayMs(0)).toBe(0)
  })

  it('keeps the rate over time whatever the size of a piece', () => {
    const bucket = new TokenBucket()
    bucket.setRate(1_000_000, 0)
    let now = 0
    let spent = 0
    while (now < 10_000) {
      now += bucket.delayMs(now)
      bucket.spend(70_000, now)
      spent += 70_000
    }
    expect(spent / 10).toBeGreaterThan(950_000)
    expect(spent / 10).toBeLessThan(1_060_000)
  })

  it('does not save up for a flood', () => {
    const bucket = new TokenBucket()
    bucket.setRate(1000, 0)
    bucket.spend(100, 60_000)
    expect(bucket.delayMs(60_000)).toBeGreaterThan(0)
  })
})

describe('flush log', () => {
  const create = (entries: number) =>
    new FlushLog(new Uint8Array(LOG_HEADER_BYTES + entries * LOG_ENTRY_BYTES))
  const contents = (log: FlushLog) => {
    const runs: number[][] = []
    log.drain((first, end) => runs.push([first, end]))
    return runs
  }

  it('forgets what a flush covers and keeps what came later', () => {
    const log = create(8)
    log.append(0, 1)
    const snapshot = log.snapshot()
    log.append(4, 6)
    log.flushed(snapshot)
    expect(contents(log)).toEqual([[4, 6]])
  })

  it('appends a run again that a flush under way may drop', () => {
    const log = create(8)
    log.append(3, 4)
    const snapshot = log.snapshot()
    log.append(3, 4)
    log.flushed(snapshot)
    expect(contents(log)).toEqual([[3, 4]])
  })

  it('says when it is full', () => {
    const log = create(2)
    expect([log.append(0, 1), log.append(2, 3), log.append(4, 5)]).toEqual([true, true, false])
  })

  it('ignores a flush from before it was drained', () => {
    const log = create(8)
    log.append(0, 1)
    const snapshot = log.snapshot()
    log.drain(() => {})
    log.append(2, 3)
    log.flushed(snapshot)
    expect(log.count).toBe(1)
  })
})

describe('deadlines', () => {
  class Probe extends Deadline {
    readonly at: number[]
    readonly clock: VirtualClock

    constructor(clock: VirtualClock, at: number[]) {
      super()
      this.clock = clock
      this.at = at
    }

    expired(): void {
      this.at.push(this.clock.now())
    }
  }

  it('expire in the order of arrival, each after its budget, unless they leave', () => {
    const clock = new VirtualClock()
    const deadlines = new Deadlines(clock, 100)
    const at: number[] = []
    const probes = [0, 1, 2].map(() => new Probe(clock, at))
    deadlines.enter(probes[0]!)
    clock.advance(30)
    deadlines.enter(probes[1]!)
    clock.advance(30)
    deadlines.enter(probes[2]!)
    deadlines.leave(probes[1]!)
    clock.advance(1000)
    expect(at).toEqual([100, 160])
    expect(clock.armed).toBe(0)
  })
})

describe('the record of a target', () => {
  it('doubles the pause with each failure in a row and gives up in the end', () => {
    const record = new TargetRecord()
    let now = 0
    const pauses = Array.from({ length: FAILURES_MAX + 1 }, () => {
      const pauseMs = record.copyFailed(now)
      now += pauseMs ?? 0
      record.answered(now)
      return pauseMs
    })
    expect(pauses.slice(0, 3)).toEqual([10, 20, 40])
    expect(pauses.at(-2)).toBe(2000)
    expect(pauses.at(-1)).toBeUndefined()
  })

  it('counts what fails during a pause as one failure', () => {
    const record = new TargetRecord()
    expect([0, 4, 9].map(now => record.copyFailed(now))).toEqual([10, 6, 1])
    expect(record.copyFailed(10)).toBe(20)
  })

  it('gives up on one bad place, however long a pass takes, and not on many', () => {
    const record = new TargetRecord()
    const place = (count: number) => count * PLACE_BYTES
    const fail = (count: number, offset: number) =>
      record.copyFailed(count * 2 * FAILURE_MEMORY_MS, offset)
    for (let count = 1; count <= 100; count++) expect(fail(count, place(count))).toBe(10)
    for (let count = 101; count < 100 + FAILURES_MAX; count++) {
      expect(fail(count, place(50) + count)).toBe(10)
    }
    expect(fail(200, place(50))).toBeUndefined()
  })

  it('starts anew with a connection, and when nothing has failed for a while', () => {
    const record = new TargetRecord()
    record.copyFailed(0)
    record.begins(100)
    expect(record.copyFailed(100)).toBe(10)
    expect(record.copyFailed(101 + FAILURE_MEMORY_MS)).toBe(10)
  })

  it('calls a target silent only after the whole time', () => {
    const record = new TargetRecord()
    record.idle(1000)
    expect(record.isSilent(1000 + SILENCE_MS_MAX)).toBe(false)
    expect(record.isSilent(1001 + SILENCE_MS_MAX)).toBe(true)
  })

  it('forgets stalls in a row after a while, not their number', () => {
    const record = new TargetRecord()
    record.stalled(0)
    record.stalled(SAME_STALL_MS)
    record.stalled(10_000)
    expect(record.stallsInARow(10_020)).toBe(2)
    expect(record.stallsInARow(1e6)).toBe(0)
    expect(record.stalls).toBe(3)
  })
})

describe('flush schedule', () => {
  it('asks for a flush after a time, many bytes, or half a log, but not for nothing', () => {
    const schedule = new FlushSchedule()
    expect(schedule.isDue(1e9, 1e12, 0)).toBe(false)
    schedule.flushed(1000, 0)
    expect(schedule.isDue(1000 + FLUSH_MS - 1, 0, 0.1)).toBe(false)
    expect(schedule.isDue(1000 + FLUSH_MS, 0, 0.1)).toBe(true)
    expect(schedule.isDue(1000, FLUSH_BYTES, 0.1)).toBe(true)
    expect(schedule.isDue(1000, 0, 0.6)).toBe(true)
  })
})

describe('rates', () => {
  it('follow a change within a few seconds', () => {
    const meter = new RateMeter()
    let total = 0
    for (let now = 0; now <= 2000; now += 20) {
      total = now * 50
      meter.sample(now, total)
    }
    expect(meter.rate).toBeCloseTo(50_000)
    for (let now = 2020; now <= 8000; now += 20) meter.sample(now, total)
    expect(meter.rate).toBeLessThan(100)
  })

  it('give an end in sight only if there is one', () => {
    expect(etaSeconds(1000, 100, 50)).toBe(20)
    expect(etaSeconds(1000, 100, 100)).toBeNull()
    expect(etaSeconds(0, 0, 100)).toBe(0)
  })
})

describe('a target', () => {
  const source = new MemoryDevice(10_240).info
  const info = (size: number, change = {}) => new MemoryDevice(size, change).info

  it.each<[string, ReturnType<typeof info>, RegExp | undefined]>([
    ['of the same size will do', info(10_240), undefined],
    ['that is larger will do', info(20_480), undefined],
    ['that is smaller will not', info(10_239), /enlarge/],
    ['that is read-only will not', info(10_240, { isReadOnly: true }), /writable/],
    ['of larger blocks will do', info(12_288, { blockSize: 4096 }), undefined],
    ['that ends inside a block will not', info(10_240, { blockSize: 4096 }), /enlarge/],
    [
      'of blocks above the granularity will not',
      info(65_536, { blockSize: 65_536 }),
      /granularity/,
    ],
  ])('%s', (_, target, problem) => {
    const found = targetProblem(source, target, 4096)
    if (problem === undefined) expect(found).toBeUndefined()
    else expect(found).toMatch(problem)
  })
})
