/** `serve` from arguments to a stopped proxy, with a proxy that can be told what to do. */
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { CommandFailure, EXIT } from '../../src/cli/exit-codes.ts'
import { serve } from '../../src/cli/serve.ts'
import { startFailure } from '../../src/cli/start-failure.ts'
import type { ProxyOptions } from '../../src/proxy/options.ts'
import { ServeError } from '../../src/proxy/serve-error.ts'
import { CaughtContext } from './support.ts'

const log = pino({ level: 'silent' })
const options: ProxyOptions = {
  path: '/dev/vg/guest',
  listen: ['nbd://127.0.0.1:0'],
  control: undefined,
  readOnly: false,
  held: false,
  exportName: '',
  description: '',
  engine: 'auto',
  direct: 'auto',
  bitmap: undefined,
  tlsPskFile: undefined,
  connectionsMax: 4,
}

/** A proxy that has started, and the ways it can end. */
function scriptedProxy() {
  let end = () => {}
  let fail = (_error: Error) => {}
  const stopped = new Promise<void>((resolve, reject) => {
    end = resolve
    fail = reject
  })
  stopped.catch(() => {})
  const calls = { stops: 0 }
  const proxy = {
    listening: ['nbd://127.0.0.1:40123/'],
    stop: () => {
      calls.stops += 1
      return stopped
    },
    stopped,
  }
  return { proxy, calls, end, fail }
}

/** Lets what was promised happen. */
const turn = () => new Promise(resolve => setImmediate(resolve))

describe('serving', () => {
  test('is announced with the real addresses once it listens, and ends with a signal', async () => {
    const { proxy, calls, end } = scriptedProxy()
    const context = new CaughtContext({ isJson: true })
    const served = serve(options, { context, log, start: async () => proxy })
    await turn()
    expect(JSON.parse(context.stdout)).toEqual({ listening: proxy.listening, pid: process.pid })
    context.signal('SIGTERM')
    expect(calls.stops).toBe(1)
    end()
    expect(await served).toBe(EXIT.ok)
    expect(context.isListening).toBe(false)
    expect(context.exits).toEqual([])
  })

  test('is announced in words without --json', async () => {
    const { proxy, end } = scriptedProxy()
    const context = new CaughtContext()
    end()
    await serve(options, { context, log, start: async () => proxy })
    expect(context.stdout).toBe('serving /dev/vg/guest at nbd://127.0.0.1:40123/\n')
  })

  test('ends at once on the second signal', async () => {
    const { proxy, calls, end } = scriptedProxy()
    const context = new CaughtContext()
    const served = serve(options, { context, log, start: async () => proxy })
    await turn()
    context.signal('SIGINT')
    context.signal('SIGINT')
    expect(context.exits).toEqual([EXIT.failed])
    expect(calls.stops).toBe(1)
    end()
    await served
  })

  test('fails when the proxy breaks by itself', async () => {
    const { proxy, fail } = scriptedProxy()
    const context = new CaughtContext()
    const served = serve(options, { context, log, start: async () => proxy })
    await turn()
    fail(new Error('the data thread ended'))
    await expect(served).rejects.toThrow('the data thread ended')
    expect(context.isListening).toBe(false)
  })
})

describe('a disk that cannot be served', () => {
  test('exits with 3 and the proxy’s own sentence', async () => {
    const context = new CaughtContext()
    const refusal = new ServeError('/dev/vg/guest is in use: stop what uses it')
    const start = () => Promise.reject(refusal)
    const error = await serve(options, { context, log, start }).catch((reason: unknown) => reason)
    expect(error).toBeInstanceOf(CommandFailure)
    expect(error).toMatchObject({
      exitCode: EXIT.disk,
      message: '/dev/vg/guest is in use: stop what uses it',
    })
    expect(context.stdout).toBe('')
  })

  test.each([
    [
      { code: 'ENOENT', syscall: 'open', path: '/x' },
      '/x does not exist: correct the path (ENOENT)',
    ],
    [{ code: 'EACCES', syscall: 'open' }, '/dev/vg/guest may not be opened by this user'],
    [{ code: 'EBUSY', syscall: 'open' }, '/dev/vg/guest is in use: stop what uses it'],
    [
      { code: 'EADDRINUSE', syscall: 'listen', address: '::1', port: 10809 },
      'cannot listen on ::1:10809 (EADDRINUSE): give another --listen',
    ],
    [{ code: 'EMFILE', syscall: 'open' }, 'as the system said'],
  ])('with %j is told in words', (fields, sentence) => {
    const error = Object.assign(new Error('as the system said'), fields)
    expect(startFailure(error, options)).toContain(sentence)
  })
})
