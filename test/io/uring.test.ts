/** What only the uring engine has: its limits, and a thread that it blocks. */
import { once } from 'node:events'
import fs from 'node:fs'
import { Worker } from 'node:worker_threads'
import { describe, expect, it } from 'vitest'
import { setNonBlocking, socketpair } from '../../src/io/libc.ts'
import { mapAnonymous, unmap } from '../../src/io/mmap.ts'
import { openEngine } from '../../src/io/open-engine.ts'
import { UringEngine, whyNoUring } from '../../src/io/uring.ts'

const why = whyNoUring()

/**
 * Built code: a worker runs it without the test runner. Echoes messages while a receive waits for
 * ever.
 */
const WORKER = `
  import { parentPort } from 'node:worker_threads'
  import { openEngine } from '${new URL('../../dist/io/open-engine.js', import.meta.url)}'
  import { mapAnonymous } from '${new URL('../../dist/io/mmap.js', import.meta.url)}'
  import { socketpair } from '${new URL('../../dist/io/libc.js', import.meta.url)}'
  import fs from 'node:fs'
  // Time that this thread ran or wanted to run: a busy machine does not change the sum.
  const wantedMs = () => {
    const [ran, waited] = fs.readFileSync('/proc/thread-self/schedstat', 'utf8').split(' ')
    return (Number(ran) + Number(waited)) / 1e6
  }
  const { engine } = openEngine('uring', { blockMsMax: 60_000 })
  const [ours] = socketpair()
  const socket = engine.openSocket(ours)
  const settle = result => parentPort.postMessage({ result })
  socket.recv(mapAnonymous(4096), 0, 1, true, { settle })
  parentPort.on('message', async value => {
    if (value === 'usage') return parentPort.postMessage(wantedMs())
    if (value !== 'close') return parentPort.postMessage(value)
    await socket.close()
    await engine.close()
    parentPort.close()
  })`
const startWorker = (): Worker =>
  new Worker(new URL(`data:text/javascript,${encodeURIComponent(WORKER)}`))

describe.skipIf(why !== undefined)(`uring engine${why ? ` (skipped: ${why})` : ''}`, () => {
  it('refuses more operations under way than its limit, and works on', async () => {
    const engine = new UringEngine({ entries: 8, completions: 8, operationsMax: 32 })
    const memory = mapAnonymous(4096)
    const fd = fs.openSync('/dev/zero', 'r')
    let settled = 0
    const operation = { settle: (): void => void settled++ }
    for (let i = 0; i < 32; i++) engine.read(fd, memory, 0, 4096, 0, operation)
    expect(() => engine.read(fd, memory, 0, 4096, 0, operation)).toThrow('more than 32 operations')
    await engine.close()
    expect(settled).toBe(32)
    fs.closeSync(fd)
    unmap(memory)
  })

  it('makes sockets blocking: older kernels answer EAGAIN otherwise', async () => {
    const engine = new UringEngine()
    const [ours, theirs] = socketpair()
    setNonBlocking(ours, true)
    const isNonBlocking = (): boolean => {
      const info = fs.readFileSync(`/proc/self/fdinfo/${ours}`, 'utf8')
      return (Number.parseInt(info.match(/flags:\s+(\d+)/)![1]!, 8) & 0o4000) !== 0
    }
    expect(isNonBlocking()).toBe(true)
    const socket = engine.openSocket(ours)
    expect(isNonBlocking()).toBe(false)
    await socket.close()
    await engine.close()
    fs.closeSync(theirs)
  })

  it('does not use the processor while it waits', async () => {
    const worker = startWorker()
    worker.postMessage('ready')
    await once(worker, 'message')
    const ask = async (): Promise<number> => {
      worker.postMessage('usage')
      return (await once(worker, 'message'))[0] as number
    }
    const [before, started] = [await ask(), performance.now()]
    await new Promise(resolve => setTimeout(resolve, 300))
    const [after, ended] = [await ask(), performance.now()]
    expect(after - before).toBeLessThan((ended - started) / 2)
    await worker.terminate()
  })

  it('is woken by messages in a worker, which exits once the engine is closed', async () => {
    const worker = startWorker()
    for (let i = 0; i < 20; i++) {
      worker.postMessage(i)
      expect((await once(worker, 'message'))[0]).toBe(i)
    }
    worker.postMessage('close')
    expect((await once(worker, 'message'))[0]).toEqual({ result: -125 })
    expect(await once(worker, 'exit')).toEqual([0])
  })

  it('does not keep its thread from being terminated', async () => {
    const worker = startWorker()
    worker.postMessage('ready')
    await once(worker, 'message')
    expect(await worker.terminate()).toBe(1)
  })
})

describe('choice of the engine', () => {
  it('says what it chose and why', async () => {
    const auto = openEngine('auto')
    expect(auto.engine.name).toBe(why === undefined ? 'uring' : 'libuv')
    expect(auto.why).toMatch(/^(uring engine: io_uring works here|libuv engine: .+)$/)
    await auto.engine.close()
    const libuv = openEngine('libuv')
    expect(libuv.engine.name).toBe('libuv')
    expect(libuv.why).toBe('libuv engine, as asked for')
    await libuv.engine.close()
  })
})
