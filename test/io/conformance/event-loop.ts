import { once } from 'node:events'
import fs from 'node:fs'
import { readFile } from 'node:fs/promises'
import { setTimeout as delay, setImmediate as immediate } from 'node:timers/promises'
import { MessageChannel, Worker } from 'node:worker_threads'
import { expect, it } from 'vitest'
import { mapAnonymous } from '../../../src/io/mmap.ts'
import { result, type Subject } from '../conformance.ts'
import { PLAIN } from '../sockets.ts'

/** Fails long before the engine's own limit on waiting would help. */
const PATIENCE_MS = 500

export function testEventLoop(subject: Subject): void {
  const memory = mapAnonymous(4096)

  /**
   * Runs `body` while a receive is under way for which nothing will arrive, so that the engine
   * waits in the kernel.
   */
  const whileWaiting = async (body: () => Promise<void>): Promise<void> => {
    const { socket, peer } = await PLAIN.unix(subject.engine)
    peer.pause()
    const waiting = result(o => socket.recv(memory, 0, 1, false, o))
    await delay(5)
    await body()
    await socket.close()
    expect(await waiting).toBeLessThan(0)
    peer.destroy()
  }
  const soon = async (what: Promise<unknown>): Promise<void> => {
    const started = performance.now()
    await what
    expect(performance.now() - started).toBeLessThan(PATIENCE_MS)
  }

  it('lets promises, immediates and timers of the thread go on while it waits', () =>
    whileWaiting(async () => {
      await soon(
        (async () => {
          for (let i = 0; i < 20; i++) await Promise.resolve()
          for (let i = 0; i < 20; i++) await immediate()
          for (let i = 0; i < 5; i++) await delay(1)
        })(),
      )
    }))

  it('lets the thread pool and message ports of the thread go on while it waits', () =>
    whileWaiting(async () => {
      for (let i = 0; i < 5; i++) await soon(readFile('/proc/self/stat'))
      const { port1, port2 } = new MessageChannel()
      port2.on('message', value => port2.postMessage(value))
      for (let i = 0; i < 20; i++) {
        const answered = once(port1, 'message')
        port1.postMessage(i)
        await soon(answered)
      }
      port1.close()
    }))

  it('is woken by a message from another thread', () =>
    whileWaiting(async () => {
      const code = `
        const { parentPort } = require('node:worker_threads')
        parentPort.on('message', value => setTimeout(() => parentPort.postMessage(value), 20))`
      const worker = new Worker(code, { eval: true })
      await once(worker, 'online')
      for (let i = 0; i < 5; i++) {
        const answered = once(worker, 'message')
        worker.postMessage(i)
        await soon(answered)
      }
      await worker.terminate()
    }))

  it('defers to the event loop: not inside the call, not inside a settle', async () => {
    let isInside = true
    const deferred = new Promise<boolean>(resolve => subject.engine.defer(() => resolve(isInside)))
    isInside = false
    expect(await deferred).toBe(false)

    const fd = fs.openSync('/dev/zero', 'r')
    const fromSettle = await new Promise<boolean>(resolve => {
      subject.engine.read(fd, memory, 0, 4096, 0, {
        settle() {
          let inSettle = true
          subject.engine.defer(() => resolve(inSettle))
          inSettle = false
        },
      })
    })
    expect(fromSettle).toBe(false)
    fs.closeSync(fd)
  })

  it('runs promise chains between operations under load', async () => {
    const fd = fs.openSync('/dev/zero', 'r')
    let isLoaded = true
    let operations = 0
    const loads = Array.from({ length: 8 }, () => {
      const load = {
        done: Promise.resolve(),
        settle(): void {
          operations++
          if (isLoaded) subject.engine.read(fd, memory, 0, 4096, 0, load)
        },
      }
      subject.engine.read(fd, memory, 0, 4096, 0, load)
      return load
    })
    await soon(
      (async () => {
        for (let i = 0; i < 50; i++) await immediate()
        for (let i = 0; i < 5; i++) await delay(1)
        await readFile('/proc/self/stat')
        for (let i = 0; i < 20; i++) expect(await readOnce(fd)).toBe(4096)
      })(),
    )
    isLoaded = false
    await delay(20)
    expect(operations).toBeGreaterThan(loads.length)
    fs.closeSync(fd)
  })
  const readOnce = (fd: number): Promise<number> =>
    result(o => subject.engine.read(fd, memory, 0, 4096, 0, o))

  it('runs tasks at the end of the turn: once, and after what settled in it', async () => {
    const fd = fs.openSync('/dev/zero', 'r')
    const order: string[] = []
    await new Promise<void>(resolve => {
      const task = {
        run(): void {
          order.push('task')
          resolve()
        },
      }
      subject.engine.read(fd, memory, 0, 4096, 0, {
        settle() {
          subject.engine.atTurnEnd(task)
          order.push('settled')
        },
      })
    })
    await delay(5)
    expect(order).toEqual(['settled', 'task'])
    fs.closeSync(fd)
  })

  it('runs a task that was scheduled while the engine was idle', async () => {
    await delay(5)
    let isInside = true
    const ran = new Promise<boolean>(resolve =>
      subject.engine.atTurnEnd({ run: () => resolve(isInside) }),
    )
    isInside = false
    await soon(ran)
    expect(await ran).toBe(false)
  })
}
