import fs from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { mapAnonymous } from '../../../src/io/mmap.ts'
import { gatherOf, type OpenEngine, result } from '../conformance.ts'
import type { Pairs } from '../sockets.ts'

const ECANCELED = 125
const EBADF = 9

export function testClosing(open: OpenEngine, pairs: Pairs): void {
  const memory = mapAnonymous(8 * 1024 * 1024)

  it('a socket settles what is under way with ECANCELED, then closes the fd', async () => {
    const engine = open()
    const { socket, peer } = await pairs.unix(engine)
    peer.pause()
    const order: string[] = []
    const note = (name: string) => (outcome: number) => order.push(`${name} ${outcome}`)
    const receiving = result(o => socket.recv(memory, 0, 10, true, o)).then(note('recv'))
    const sending = result(o => socket.send(gatherOf(engine, memory), o)).then(note('send'))
    await delay(10)
    await socket.close().then(() => order.push('closed'))
    await Promise.all([receiving, sending])
    expect(order.toSorted()).toEqual(['closed', `recv -${ECANCELED}`, `send -${ECANCELED}`])
    await engine.close()
    peer.destroy()
  })

  it('a socket may be closed twice, and in the call after a receive', async () => {
    const engine = open()
    const [a, b] = await pairs.both(engine)
    const receiving = result(o => a.recv(memory, 0, 10, false, o))
    const closing = a.close()
    await Promise.all([closing, a.close()])
    expect(await receiving).toBe(-ECANCELED)
    await b.close()
    await engine.close()
  })

  it('a closed socket settles with ECANCELED', async () => {
    const engine = open()
    const [a, b] = await pairs.both(engine)
    await a.close()
    expect(await result(o => a.recv(memory, 0, 10, false, o))).toBe(-ECANCELED)
    expect(await result(o => a.send(gatherOf(engine, memory), o))).toBe(-ECANCELED)
    await b.close()
    await engine.close()
  })

  it('closes the fd of a socket once, and no other', async () => {
    const engine = open()
    const fds = (): number => fs.readdirSync('/proc/self/fd').length
    const before = fds()
    for (let i = 0; i < 20; i++) {
      const [a, b] = await pairs.both(engine)
      await Promise.all([a.close(), b.close()])
    }
    expect(fds()).toBeLessThanOrEqual(before)
    await engine.close()
  })

  it('an engine settles everything under way before its close resolves', async () => {
    const engine = open()
    const [a, b] = await pairs.both(engine)
    const fd = fs.openSync('/dev/zero', 'r')
    const outcomes: number[] = []
    const operation = { settle: (outcome: number): void => void outcomes.push(outcome) }
    for (let i = 0; i < 200; i++) engine.read(fd, memory, i * 4096, 4096, 0, operation)
    a.recv(memory, 0, 10, true, operation)
    b.recv(memory, 0, 10, true, operation)
    let expired = 0
    engine.createTimer(() => expired++).arm(20)
    await engine.close()
    const expiredBefore = expired
    expect(outcomes.length).toBe(202)
    for (const outcome of outcomes) expect([4096, 0, -ECANCELED]).toContain(outcome)
    await delay(50)
    expect(expired).toBe(expiredBefore)
    fs.closeSync(fd)
  })

  it('an engine may be closed twice, and refuses to be used afterwards', async () => {
    const engine = open()
    await Promise.all([engine.close(), engine.close()])
    const nothing = { settle(): void {} }
    expect(() => engine.read(0, memory, 0, 10, 0, nothing)).toThrow('used after close')
    expect(() => engine.openSocket(0)).toThrow('used after close')
  })

  it('a write that fails does not stop what comes after it', async () => {
    const engine = open()
    expect(await result(o => engine.write(9999, memory, 0, 10, 0, o))).toBe(-EBADF)
    const fd = fs.openSync('/dev/zero', 'r')
    expect(await result(o => engine.read(fd, memory, 0, 10, 0, o))).toBe(10)
    fs.closeSync(fd)
    await engine.close()
  })
}
