import { it } from 'vitest'
import { expectBytes, expectZeroes } from '../../support/bytes.ts'
import { Random } from '../../support/random.ts'
import type { Subject } from '../conformance.ts'

export function testDurability(subject: Subject): void {
  const random = new Random(3)

  it('flushes', async ({ skip }) => {
    skip(!subject.device.info.canFlush, 'cannot flush')
    await subject.facade.flush()
  })

  it('flushes while writes are under way', async ({ skip }) => {
    const { canFlush, isReadOnly } = subject.device.info
    skip(!canFlush || isReadOnly, 'cannot flush writes')
    const bytes = random.bytes(65536)
    await Promise.all([
      subject.facade.write(0, bytes),
      subject.facade.flush(),
      subject.facade.write(65536, bytes),
      subject.facade.flush(),
    ])
    expectBytes(await subject.facade.read(65536, 65536), bytes)
  })

  it('writes with FUA', async ({ skip }) => {
    const { canFua, isReadOnly } = subject.device.info
    skip(!canFua || isReadOnly, 'no FUA')
    const bytes = random.bytes(12288)
    await subject.facade.write(4096, bytes, { fua: true })
    expectBytes(await subject.facade.read(4096, 12288), bytes)
  })

  it('writes zeroes with FUA', async ({ skip }) => {
    const { canFua, canWriteZeroes } = subject.device.info
    skip(!canFua || !canWriteZeroes, 'no FUA or no write zeroes')
    await subject.facade.write(4096, random.bytes(12288))
    await subject.facade.writeZeroes(4096, 12288, { fua: true })
    expectZeroes(await subject.facade.read(4096, 12288))
  })

  it('trims with FUA', async ({ skip }) => {
    const { canFua, canTrim } = subject.device.info
    skip(!canFua || !canTrim, 'no FUA or no trim')
    await subject.facade.trim(4096, 12288, { fua: true })
  })
}
