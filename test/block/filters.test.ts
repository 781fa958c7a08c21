/**
 * Every leaf without an engine and every filter over one, and a whole chain, against the same
 * suite.
 */
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { Gate } from '../../src/block/gate.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import { DelayedDevice } from '../support/delayed-device.ts'
import { FaultyDevice } from '../support/faulty-device.ts'
import { describeBlockDevice } from './conformance.ts'

const SIZE = 2 * 1024 * 1024

describeBlockDevice('memory', async () => ({ device: new MemoryDevice(SIZE) }))

describeBlockDevice('memory of an odd size', async () => ({ device: new MemoryDevice(SIZE + 77) }))

describeBlockDevice('memory in blocks of 4096', async () => ({
  device: new MemoryDevice(SIZE, { blockSize: 4096 }),
}))

describeBlockDevice('memory, read-only', async () => ({
  device: new MemoryDevice(SIZE, { isReadOnly: true }),
}))

describeBlockDevice('memory that can only read and write', async () => ({
  device: new MemoryDevice(SIZE, {
    canFua: false,
    canFlush: false,
    canTrim: false,
    canWriteZeroes: false,
    canFastZero: false,
    canBlockStatus: false,
  }),
}))

describeBlockDevice('checked, with FUA by flushes', async () => ({
  device: chain(checked, new MemoryDevice(SIZE, { canFua: false })),
}))

describeBlockDevice('gate', async () => ({ device: new Gate(new MemoryDevice(SIZE)) }))

describeBlockDevice('faulty device without a fault', async () => ({
  device: new FaultyDevice(new MemoryDevice(SIZE)),
}))

describeBlockDevice('a whole chain over a device that completes later', async () => {
  const delayed = new DelayedDevice(new MemoryDevice(SIZE))
  const timer = setInterval(() => delayed.releaseAll(), 0)
  const release = async (): Promise<void> => clearInterval(timer)
  return { device: chain(checked, next => new Gate(next), delayed), release }
})
