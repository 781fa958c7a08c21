import { NBD_CMD_READ } from 'nbd-client-ts'
import { expect, it } from 'vitest'
import { ESHUTDOWN } from '../../../src/block/errno.ts'
import { createRequest, perform, start } from '../../support/requests.ts'
import { type Open, openSubject } from '../conformance.ts'

export function testClosing(open: Open): void {
  it('completes what is under way before close resolves', async () => {
    await using subject = await openSubject(open)
    const memory = subject.source.acquire(16 * 4096)
    const watched = Array.from({ length: 16 }, (_, index) => {
      const [offset, length, memoryOffset] = [index * 4096, 4096, index * 4096]
      const fields = { command: NBD_CMD_READ, offset, length, memory, memoryOffset }
      return start(subject.device, createRequest(fields))
    })
    await subject.device.close()
    for (const { outcome } of watched) expect(outcome).toBe(0)
  })

  it('answers ESHUTDOWN after close', async () => {
    await using subject = await openSubject(open)
    await subject.device.close()
    const memory = { bytes: new Uint8Array(4096), address: 0 }
    const request = createRequest({ command: NBD_CMD_READ, length: 4096, memory })
    expect(await perform(subject.device, request)).toBe(ESHUTDOWN)
  })
}
