import {
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
} from 'nbd-client-ts'
import { describe, expect, it } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import type { BlockDevice } from '../../src/block/device.ts'
import { EINVAL, EIO } from '../../src/block/errno.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import type { Request } from '../../src/block/request.ts'
import { DelayedDevice } from '../support/delayed-device.ts'
import { createRequest, heapMemory, perform, start } from '../support/requests.ts'

const SIZE = 65536

function write(flags = 0): Request {
  const memory = heapMemory(4096, 1)
  return createRequest({ command: NBD_CMD_WRITE, flags, length: 4096, memory })
}

function withoutFua(canFlush = true): { device: BlockDevice; delayed: DelayedDevice } {
  const delayed = new DelayedDevice(new MemoryDevice(SIZE, { canFua: false, canFlush }))
  return { device: chain(checked, delayed), delayed }
}

/** A device that answers as `answer` says. */
function answering(answer: (request: Request) => void): BlockDevice {
  const { info } = new MemoryDevice(SIZE)
  return chain(checked, { info, submit: answer, close: async () => {} })
}

describe('FUA on a device without it', () => {
  it('is offered if the device can flush, and only then', () => {
    expect(withoutFua().device.info.canFua).toBe(true)
    expect(withoutFua(false).device.info.canFua).toBe(false)
  })

  it('is refused if the device cannot flush', async () => {
    expect(await perform(withoutFua(false).device, write(NBD_CMD_FLAG_FUA))).toBe(EINVAL)
  })

  it.each([
    ['write', NBD_CMD_WRITE],
    ['trim', NBD_CMD_TRIM],
    ['write zeroes', NBD_CMD_WRITE_ZEROES],
  ])('completes a %s only after a flush that follows it', (_name, command) => {
    const { device, delayed } = withoutFua()
    const request = write(NBD_CMD_FLAG_FUA)
    request.command = command
    const watched = start(device, request)
    expect(delayed.held.map(held => held.command)).toEqual([command])
    expect(delayed.held[0]!.flags).toBe(0)
    delayed.release()
    expect(watched.outcome).toBeUndefined()
    expect(delayed.held.map(held => held.command)).toEqual([NBD_CMD_FLUSH])
    delayed.release()
    expect(watched.outcome).toBe(0)
    expect(request.flags).toBe(NBD_CMD_FLAG_FUA)
  })

  it('does not flush after a write that failed', () => {
    const { device, delayed } = withoutFua()
    const watched = start(device, write(NBD_CMD_FLAG_FUA))
    delayed.fail(EIO)
    expect(watched.outcome).toBe(EIO)
    expect(delayed.held).toHaveLength(0)
  })

  it('fails a write whose flush failed', () => {
    const { device, delayed } = withoutFua()
    const watched = start(device, write(NBD_CMD_FLAG_FUA))
    delayed.release()
    delayed.fail(EIO)
    expect(watched.outcome).toBe(EIO)
  })

  it('keeps several writes and their flushes apart', () => {
    const { device, delayed } = withoutFua()
    const watched = [0, 1, 2].map(() => start(device, write(NBD_CMD_FLAG_FUA)))
    delayed.release(1)
    delayed.release(0)
    delayed.release(0)
    expect(delayed.held.map(held => held.command)).toEqual(new Array(3).fill(NBD_CMD_FLUSH))
    delayed.release(1)
    expect(watched.map(({ outcome }) => outcome)).toEqual([0, undefined, undefined])
    delayed.releaseAll()
    expect(watched.map(({ outcome }) => outcome)).toEqual([0, 0, 0])
  })

  it('makes close wait for the flush', async () => {
    const { device, delayed } = withoutFua()
    start(device, write(NBD_CMD_FLAG_FUA))
    let isClosed = false
    const closed = device.close().then(() => {
      isClosed = true
    })
    delayed.release()
    await Promise.resolve()
    expect(isClosed).toBe(false)
    delayed.release()
    await closed
  })
})

describe('a device that breaks the contract', () => {
  it.each([-1, 0.5, Number.NaN])('is caught when it completes with the error %d', error => {
    const device = answering(request => request.complete(error))
    expect(() => start(device, write())).toThrow(/error/)
  })

  it('is caught when it completes twice', () => {
    const device = answering(request => {
      request.complete(0)
      request.complete(0)
    })
    expect(() => start(device, write())).toThrow('completed twice')
  })

  it('is caught when it completes a write again during the flush that follows it', () => {
    const { device, delayed } = withoutFua()
    const request = write(NBD_CMD_FLAG_FUA)
    start(device, request)
    delayed.release()
    expect(() => request.complete(0)).toThrow('completed twice')
  })

  it('is refused when its size is not a multiple of its block size', () => {
    expect(() => chain(checked, new MemoryDevice(1000, { blockSize: 512 }))).toThrow('size')
  })
})

describe('a starter that breaks the contract', () => {
  it.each([
    ['without memory', { memory: undefined }],
    ['with memory that is too small', { memory: heapMemory(4095) }],
    ['with memory that ends too early', { memoryOffset: 1 }],
    ['with a negative memory offset', { memoryOffset: -1 }],
  ])('is caught when it writes %s', (_name, fields) => {
    const device = chain(checked, new MemoryDevice(SIZE))
    expect(() => start(device, Object.assign(write(), fields))).toThrow('checked')
  })
})
