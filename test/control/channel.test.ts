/** Client and server over a real unix socket: what overlaps, what breaks, what ends. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ControlServer, connectControl, listenControl } from '../../src/control/channel.ts'
import { ControlError } from '../../src/control/control-error.ts'
import { encodeFrame, FRAME_BYTES_MAX, FrameDecoder } from '../../src/control/framing.ts'
import { mirrorSample, sampleHandlers, serveSample } from './samples.ts'

const log = pino({ level: 'silent' })
const soon = { timeoutMs: 5000 }
let folder: string
let path: string
const closers: (() => Promise<void> | void)[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'control-'))
  path = join(folder, 'sock')
})

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
  rmSync(folder, { recursive: true })
})

async function serve(handlers = sampleHandlers(), stalledMs?: number): Promise<ControlServer> {
  const options = stalledMs === undefined ? {} : { stalledMs }
  const server = await listenControl(path, handlers, log, options)
  closers.push(() => server.close())
  return server
}

/** A client that sends whatever it wants, and all that it was sent until the connection ended. */
function raw(): { socket: Socket; received: Promise<unknown[]> } {
  const socket = createConnection({ path, allowHalfOpen: true })
  const decoder = new FrameDecoder()
  const messages: unknown[] = []
  socket.on('error', () => {})
  closers.push(() => void socket.destroy())
  const received = new Promise<unknown[]>(resolve => {
    socket.on('data', chunk => messages.push(...decoder.feed(chunk)))
    socket.on('end', () => socket.end())
    socket.on('close', () => resolve(messages))
  })
  return { socket, received }
}

const status = (id: number) => encodeFrame({ version: 1, id, verb: 'status', params: {} })

async function failure(promise: Promise<unknown>): Promise<ControlError> {
  const error = await promise.then(
    () => new Error('was accepted'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(ControlError)
  return error as ControlError
}

describe('a call', () => {
  test('brings the result of each verb', async () => {
    await serve()
    using client = await connectControl(path)
    expect(await client.call('status', {}, soon)).toEqual(serveSample)
    expect(await client.call('mirror-status', {}, soon)).toEqual(mirrorSample)
  })

  test('is given its parameters', async () => {
    const seen: unknown[] = []
    const set = (params: object) => {
      seen.push(params)
      return mirrorSample
    }
    await serve(sampleHandlers({ 'mirror-set': set }))
    using client = await connectControl(path)
    await client.call('mirror-set', { bandwidth: 2 ** 40, copyMode: 'auto' }, soon)
    expect(seen).toEqual([{ bandwidth: 2 ** 40, copyMode: 'auto' }])
  })

  test('with wrong parameters is refused before it is sent', async () => {
    await serve()
    using client = await connectControl(path)
    const error = await failure(client.call('mirror-set', { bandwidth: -1 }, soon))
    expect(error.message).toContain('mirror-set.bandwidth must be')
  })

  test('rejects with the code and the sentence that the handler threw', async () => {
    const refuse = () => {
      throw ControlError.refuse('no-mirror', 'no mirror has been started')
    }
    await serve(sampleHandlers({ 'mirror-status': refuse }))
    using client = await connectControl(path)
    expect(await failure(client.call('mirror-status', {}, soon))).toMatchObject({
      code: 'refused',
      remoteCode: 'no-mirror',
      message: 'no mirror has been started',
    })
    expect(await client.call('status', {}, soon)).toEqual(serveSample)
  })

  test('rejects as internal where the handler broke, however long its message is', async () => {
    const broken = () => Promise.reject(new Error('x'.repeat(100_000)))
    await serve(sampleHandlers({ 'mirror-cancel': broken }))
    using client = await connectControl(path)
    const error = await failure(client.call('mirror-cancel', {}, soon))
    expect(error).toMatchObject({ code: 'refused', remoteCode: 'internal' })
    expect(error.message).toMatch(/^x+$/)
  })

  test('that is not answered in time rejects, and its late reply harms nobody', async () => {
    let finish = () => {}
    const late = new Promise<typeof mirrorSample>(resolve => {
      finish = () => resolve(mirrorSample)
    })
    await serve(sampleHandlers({ 'mirror-complete': () => late }))
    using client = await connectControl(path)
    const params = { verify: false, resume: false, timeoutMs: 1000 }
    const error = await failure(client.call('mirror-complete', params, { timeoutMs: 20 }))
    expect(error.code).toBe('timeout')
    finish()
    expect(await client.call('status', {}, soon)).toEqual(serveSample)
  })

  test('under way when the proxy goes away rejects as closed', async () => {
    const server = createServer(socket => setTimeout(() => socket.destroy(), 20)).listen(path)
    closers.push(() => void server.close())
    using client = await connectControl(path)
    expect((await failure(client.call('mirror-status', {}, soon))).code).toBe('closed')
    expect((await failure(client.call('mirror-status', {}, soon))).code).toBe('closed')
  })
})

describe('clients', () => {
  test('a hundred at a time with overlapping calls each get their own answers', async () => {
    const answer = async ({ stallMs = 0 }: { stallMs?: number }) => {
      await new Promise(resolve => setTimeout(resolve, stallMs % 7))
      return { ...mirrorSample, stallMs }
    }
    await serve(sampleHandlers({ 'mirror-set': answer }))
    const client = async (index: number) => {
      using connected = await connectControl(path)
      const asked = [1, 2, 3, 4, 5, 6, 7, 8].map(call => index * 10 + call)
      const calls = asked.map(stallMs => connected.call('mirror-set', { stallMs }, soon))
      expect((await Promise.all(calls)).map(result => result.stallMs)).toEqual(asked)
    }
    await Promise.all(Array.from({ length: 100 }, (_, index) => client(index)))
  })

  test('one that asks for too much at a time is told so and keeps the rest', async () => {
    let release = () => {}
    const gate = new Promise<void>(resolve => {
      release = resolve
    })
    const held = async () => {
      await gate
      return mirrorSample
    }
    await serve(sampleHandlers({ 'mirror-status': held }))
    using client = await connectControl(path)
    const calls = Array.from({ length: 20 }, () => client.call('mirror-status', {}, soon))
    const settled = Promise.allSettled(calls)
    expect(await failure(calls[19]!)).toMatchObject({ remoteCode: 'busy' })
    release()
    const outcomes = (await settled).map(call => call.status)
    expect(outcomes.filter(outcome => outcome === 'fulfilled')).toHaveLength(16)
  })

  test('one that half-closes still gets its answer', async () => {
    const slow = async () => {
      await new Promise(resolve => setTimeout(resolve, 30))
      return serveSample
    }
    await serve(sampleHandlers({ status: slow }))
    const { socket, received } = raw()
    socket.end(status(5))
    expect(await received).toEqual([{ version: 1, id: 5, result: serveSample }])
  })

  test('one that sends a byte at a time is answered', async () => {
    await serve()
    const { socket, received } = raw()
    for (const byte of status(9)) {
      socket.write(Buffer.of(byte))
      await new Promise(resolve => setImmediate(resolve))
    }
    socket.end()
    expect(await received).toMatchObject([{ id: 9 }])
  })

  test('one that stays in the middle of a frame is dropped, an idle one is not', async () => {
    await serve(sampleHandlers(), 50)
    using idle = await connectControl(path)
    const { socket, received } = raw()
    socket.write(status(1).subarray(0, 10))
    expect(await received).toEqual([])
    expect(await idle.call('status', {}, soon)).toEqual(serveSample)
  })

  test('one that never reads its replies is dropped, and others are served meanwhile', async () => {
    await serve(sampleHandlers(), 200)
    const socket = createConnection(path)
    socket.on('error', () => {})
    closers.push(() => void socket.destroy())
    socket.pause()
    const many = Buffer.concat(Array.from({ length: 1000 }, (_, index) => status(index + 1)))
    const dropped = new Promise(resolve => socket.on('close', resolve))
    const timer = setInterval(() => socket.writableNeedDrain || socket.write(many), 1)
    closers.push(() => clearInterval(timer))
    using other = await connectControl(path)
    expect(await other.call('status', {}, soon)).toEqual(serveSample)
    await dropped
  })
})

describe('the protocol broken by a client', () => {
  test.each([
    ['garbage', Buffer.from('GET / HTTP/1.1\r\n\r\n'), 'malformed', 'over the limit'],
    ['an oversize frame', Buffer.from([0, 1, 0, 1]), 'malformed', `limit of ${FRAME_BYTES_MAX}`],
    ['an empty frame', Buffer.alloc(4), 'malformed', 'empty'],
    ['an extension type', Buffer.from('00000003d47240', 'hex'), 'malformed', 'not a plain value'],
    ['no request', encodeFrame({ version: 1, id: 1 }), 'malformed', 'request.verb is missing'],
    ['version 2', encodeFrame({ version: 2, what: [] }), 'version', 'control version 1'],
  ])('%s is answered with a sentence and the end', async (_name, bytes, code, sentence) => {
    await serve()
    const { socket, received } = raw()
    socket.write(bytes)
    const message = expect.stringContaining(sentence)
    expect(await received).toEqual([{ version: 1, id: 0, error: { code, message } }])
    using next = await connectControl(path)
    expect(await next.call('status', {}, soon)).toEqual(serveSample)
  })

  test.each([
    ['launch', {}, 'unknown-verb', 'unknown verb "launch"'],
    ['constructor', {}, 'unknown-verb', 'unknown verb'],
    ['mirror-set', { bandwidth: -1 }, 'invalid', 'mirror-set.bandwidth must be'],
    ['status', null, 'invalid', 'must be a map'],
  ])('%s with %j is answered, and the connection lives', async (verb, params, code, sentence) => {
    await serve()
    const { socket, received } = raw()
    socket.write(encodeFrame({ version: 1, id: 3, verb, params }))
    socket.end(status(4))
    const message = expect.stringContaining(sentence)
    expect(await received).toEqual(
      expect.arrayContaining([
        { version: 1, id: 3, error: { code, message } },
        { version: 1, id: 4, result: serveSample },
      ]),
    )
  })
})

describe('the protocol broken by a proxy', () => {
  const status = { ...serveSample, pid: -1 }
  test.each([
    [
      'another version',
      { version: 2, id: 1, result: {} },
      'version',
      'upgrade the blkferry that asks',
    ],
    ['an older version', { version: 0, id: 1 }, 'version', 'upgrade the blkferry that answers'],
    ['an answer to nothing', { version: 1, id: 99, result: {} }, 'malformed', 'reply 99'],
    ['no answer', { version: 1, id: 1 }, 'malformed', 'either a result or an error'],
    ['a wrong result', { version: 1, id: 1, result: status }, 'malformed', 'result of status.pid'],
  ])('%s rejects the call', async (_name, reply, code, sentence) => {
    const server = createServer(socket => {
      socket.on('error', () => {})
      socket.on('data', () => socket.write(encodeFrame(reply)))
    })
    server.listen(path)
    closers.push(() => void server.close())
    using client = await connectControl(path)
    const error = await failure(client.call('status', {}, soon))
    expect(error.code).toBe(code)
    expect(error.message).toContain(sentence)
  })
})
