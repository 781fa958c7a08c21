import { expect, it } from 'vitest'
import { mapAnonymous } from '../../../src/io/mmap.ts'
import { result, type Subject } from '../conformance.ts'
import { PLAIN } from '../sockets.ts'

const NOTHING = { settle(): void {} }

export function testRefusals(subject: Subject): void {
  const memory = mapAnonymous(8192)

  it('refuses memory beyond its end', async () => {
    const { engine } = subject
    expect(() => engine.read(0, memory, 4097, 4096, 0, NOTHING)).toThrow('outside its memory')
    expect(() => engine.write(0, memory, -1, 10, 0, NOTHING)).toThrow('outside its memory')
    expect(() => engine.createGather(1).push(memory, 8192, 1)).toThrow('outside its memory')
    const [a, b] = await PLAIN.both(engine)
    expect(() => a.recv(memory, 8000, 193, false, NOTHING)).toThrow('outside its memory')
    await Promise.all([a.close(), b.close()])
  })

  it('refuses offsets that a number cannot hold exactly', () => {
    const offset = Number.MAX_SAFE_INTEGER
    expect(() => subject.engine.read(0, memory, 0, 4096, offset, NOTHING)).toThrow('exact')
  })

  it('refuses gathers of more entries than the kernel takes, or beyond their own limit', () => {
    expect(() => subject.engine.createGather(1025)).toThrow('1 to 1024 entries')
    const gather = subject.engine.createGather(2)
    gather.push(memory, 0, 1)
    gather.push(memory, 0, 1)
    expect(() => gather.push(memory, 0, 1)).toThrow('full')
  })

  it('refuses a second receive or send at a time, and a gather that was sent', async () => {
    const [a, b] = await PLAIN.both(subject.engine)
    const waiting = result(o => a.recv(memory, 0, 10, false, o))
    expect(() => a.recv(memory, 0, 10, false, NOTHING)).toThrow('under way')
    const gather = subject.engine.createGather(1)
    gather.push(memory, 0, 10)
    const sending = result(o => a.send(gather, o))
    expect(() => a.send(gather, NOTHING)).toThrow('under way')
    expect(await sending).toBe(10)
    expect(() => a.send(gather, NOTHING)).toThrow('without a clear')
    expect(() => gather.push(memory, 0, 10)).toThrow('clear it')
    await Promise.all([a.close(), b.close()])
    expect(await waiting).toBeLessThanOrEqual(0)
  })
}
