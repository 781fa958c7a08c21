import { NBD_CMD_WRITE } from 'nbd-client-ts'
import { describe, expect, it } from 'vitest'
import { EIO, ESHUTDOWN } from '../../src/block/errno.ts'
import { Gate } from '../../src/block/gate.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import type { Request } from '../../src/block/request.ts'
import { DelayedDevice } from '../support/delayed-device.ts'
import { createRequest, heapMemory, start } from '../support/requests.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

function open(): { gate: Gate; delayed: DelayedDevice } {
  const delayed = new DelayedDevice(new MemoryDevice(65536))
  return { gate: new Gate(delayed), delayed }
}

/** A write that is told apart by its offset. */
function write(offset = 0): Request {
  return createRequest({ command: NBD_CMD_WRITE, offset, length: 1, memory: heapMemory(1) })
}

/** What became of a promise, as far as it is known when the microtasks have run. */
async function stateOf(promise: Promise<unknown>): Promise<string> {
  let state = 'pending'
  promise.then(
    () => {
      state = 'resolved'
    },
    error => {
      state = error.code
    },
  )
  await new Promise(resolve => setImmediate(resolve))
  return state
}

const offsets = (requests: Request[]): number[] => requests.map(({ offset }) => offset)

describe('quiesce', () => {
  it('waits for requests already admitted', async () => {
    const { gate, delayed } = open()
    start(gate, write(1))
    start(gate, write(2))
    const quiesced = gate.quiesce()
    delayed.release(1)
    expect(await stateOf(quiesced)).toBe('pending')
    expect(gate.inFlight).toBe(1)
    delayed.fail(EIO)
    expect(await stateOf(quiesced)).toBe('resolved')
    expect(gate.inFlight).toBe(0)
  })

  it('resolves at once when nothing is in flight', async () => {
    const { gate } = open()
    expect(await stateOf(gate.quiesce())).toBe('resolved')
  })

  it('holds back what arrives after it, before and after the drain', async () => {
    const { gate, delayed } = open()
    start(gate, write(1))
    const quiesced = gate.quiesce()
    const early = start(gate, write(2))
    delayed.release()
    await quiesced
    const late = start(gate, write(3))
    expect(delayed.held).toHaveLength(0)
    expect(gate.parked).toBe(2)
    expect([early.outcome, late.outcome]).toEqual([undefined, undefined])
  })

  it('holds back a request started by the completion of the last one in flight', async () => {
    const { gate, delayed } = open()
    const request = write(1)
    request.push({ completed: () => start(gate, write(2)) })
    gate.submit(request)
    const quiesced = gate.quiesce()
    delayed.release()
    await quiesced
    expect(delayed.held).toHaveLength(0)
    expect(gate.parked).toBe(1)
  })

  it('joins a quiesce under way when it is called twice', async () => {
    const { gate, delayed } = open()
    start(gate, write())
    const both = [gate.quiesce(), gate.quiesce()]
    delayed.release()
    await Promise.all(both)
    expect(await stateOf(gate.quiesce())).toBe('resolved')
    gate.resume()
    expect(gate.isStopped).toBe(false)
  })

  it('can be called again after resume', async () => {
    const { gate, delayed } = open()
    await gate.quiesce()
    gate.resume()
    start(gate, write())
    const again = gate.quiesce()
    expect(await stateOf(again)).toBe('pending')
    delayed.release()
    expect(await stateOf(again)).toBe('resolved')
  })
})

describe('resume', () => {
  it('admits what is parked in the order of arrival, then what comes later', async () => {
    const { gate, delayed } = open()
    await gate.quiesce()
    for (const offset of [5, 3, 9]) start(gate, write(offset))
    gate.resume()
    start(gate, write(1))
    expect(offsets(delayed.held)).toEqual([5, 3, 9, 1])
    expect(gate.inFlight).toBe(4)
    expect(gate.parked).toBe(0)
  })

  it('does not let a request that arrives meanwhile overtake a parked one', async () => {
    const memory = new MemoryDevice(65536)
    const seen: number[] = []
    const submit = (request: Request): void => {
      seen.push(request.offset)
      memory.submit(request)
    }
    const gate = new Gate({ info: memory.info, submit, close: () => memory.close() })
    await gate.quiesce()
    const first = write(1)
    first.push({ completed: () => start(gate, write(3)) })
    gate.submit(first)
    start(gate, write(2))
    gate.resume()
    expect(seen).toEqual([1, 2, 3])
  })

  it('rejects a quiesce that has not drained, and readmits', async () => {
    const { gate, delayed } = open()
    start(gate, write(1))
    const quiesced = gate.quiesce()
    start(gate, write(2))
    gate.resume()
    expect(await stateOf(quiesced)).toBe('resumed')
    expect(offsets(delayed.held)).toEqual([1, 2])
  })

  it('stops readmitting when a completion quiesces again', async () => {
    const gate = new Gate(new MemoryDevice(65536))
    await gate.quiesce()
    let again: Promise<void> | undefined
    const first = write(1)
    first.push({
      completed: () => {
        again = gate.quiesce()
      },
    })
    gate.submit(first)
    const second = start(gate, write(2))
    gate.resume()
    await again
    expect(gate.parked).toBe(1)
    expect(second.outcome).toBeUndefined()
    gate.resume()
    expect(second.outcome).toBe(0)
  })

  it('does nothing on a gate that is not stopped', () => {
    const { gate, delayed } = open()
    start(gate, write())
    gate.resume()
    expect(delayed.held).toHaveLength(1)
  })
})

describe('quiesce within a time', () => {
  it('resolves when the drain is in time, and the timer is off', async () => {
    const { gate, delayed } = open()
    const clock = new VirtualClock()
    start(gate, write())
    const quiesced = gate.quiesceWithin(clock, 100)
    clock.advance(99)
    delayed.release()
    await quiesced
    expect(clock.armed).toBe(0)
    expect(gate.isStopped).toBe(true)
  })

  it('resumes and rejects when the drain is late', async () => {
    const { gate, delayed } = open()
    const clock = new VirtualClock()
    start(gate, write(1))
    const quiesced = gate.quiesceWithin(clock, 100)
    start(gate, write(2))
    clock.advance(100)
    expect(await stateOf(quiesced)).toBe('timeout')
    await expect(quiesced).rejects.toThrow('timeout with 1 requests in flight')
    expect(offsets(delayed.held)).toEqual([1, 2])
    expect(gate.isStopped).toBe(false)
  })

  it('does not take back a drain that is over when the time is up in the same turn', async () => {
    const { gate, delayed } = open()
    const clock = new VirtualClock()
    start(gate, write())
    const quiesced = gate.quiesceWithin(clock, 100)
    delayed.release()
    clock.advance(1000)
    expect(gate.isStopped).toBe(true)
    await quiesced
    expect(gate.isStopped).toBe(true)
  })

  it('does not end a later quiesce of somebody else', async () => {
    const { gate } = open()
    const clock = new VirtualClock()
    start(gate, write())
    const first = gate.quiesceWithin(clock, 100)
    gate.resume()
    const second = gate.quiesce()
    clock.advance(100)
    expect(await stateOf(first)).toBe('resumed')
    expect(await stateOf(second)).toBe('pending')
  })
})

describe('close', () => {
  it('completes parked requests with ESHUTDOWN, and rejects a pending quiesce', async () => {
    const { gate, delayed } = open()
    const admitted = start(gate, write(1))
    const quiesced = gate.quiesce()
    const parked = start(gate, write(2))
    const closed = gate.close()
    expect(parked.outcome).toBe(ESHUTDOWN)
    expect(await stateOf(quiesced)).toBe('closed')
    expect(await stateOf(closed)).toBe('pending')
    delayed.release()
    await closed
    expect(admitted.outcome).toBe(0)
  })

  it('answers ESHUTDOWN afterwards, and quiesce rejects', async () => {
    const { gate } = open()
    await gate.close()
    expect(start(gate, write()).outcome).toBe(ESHUTDOWN)
    expect(await stateOf(gate.quiesce())).toBe('closed')
  })
})
