/** Both ends of the relay between real processes that speak as xl does, over a real socket. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { PassThrough, type Readable, type Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import {
  type DestinationQuestion,
  DestinationRelay,
} from '../../src/migration/destination-relay.ts'
import { type Answers, runRelay } from '../../src/migration/relay-pump.ts'
import { type SourceQuestion, SourceRelay } from '../../src/migration/source-relay.ts'
import { BANNER } from '../../src/migration/xl-messages.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const STUB = new URL('stub-xl.mjs', import.meta.url).pathname
type Xl = ChildProcessByStdio<Writable, Readable, null>

function startXl(...words: string[]): Xl {
  return spawn(process.execPath, [STUB, ...words], { stdio: ['pipe', 'pipe', 'inherit'] })
}

const exitOf = (xl: Xl): Promise<number | null> =>
  new Promise(resolve => xl.once('exit', code => resolve(code)))

/** Two ends of a connection on a unix socket. */
async function connection(folder: Temporary): Promise<[Socket, Socket]> {
  const server = createServer()
  const accepted = new Promise<Socket>(resolve => server.once('connection', resolve))
  await new Promise<void>(resolve => server.listen(folder.file('link'), resolve))
  const near = connect(folder.file('link'))
  const far = await accepted
  server.close()
  return [near, far]
}

interface Options {
  readonly bytes?: number
  readonly receiver?: readonly string[]
  readonly source?: Partial<Answers<SourceQuestion>>
  readonly destination?: Partial<Answers<DestinationQuestion>>
}

/** Runs a migration to its end and tells what each side made of it. */
async function migrate(options: Options) {
  await using folder = await temporary()
  const [near, far] = await connection(folder)
  const asked: string[] = []
  const answer = (side: string, question: string) => async () => {
    asked.push(`${side} ${question}`)
  }
  const sender = startXl('send', folder.file('source'), String(options.bytes ?? 100_000), '7')
  const receiver = startXl('receive', folder.file('destination'), ...(options.receiver ?? []))
  const exits = Promise.all([exitOf(sender), exitOf(receiver)])
  const cut = (): void => {
    near.destroy()
  }
  const wrapped = <Q extends string>(
    side: string,
    names: readonly Q[],
    own?: Partial<Answers<Q>>,
  ) =>
    Object.fromEntries(
      names.map(name => [
        name,
        async (signal: AbortSignal) => {
          await answer(side, name)()
          return own?.[name]?.(signal)
        },
      ]),
    ) as unknown as Answers<Q>
  const source = runRelay<SourceQuestion, SourceRelay>(
    { fromXl: sender.stdout, toXl: sender.stdin, fromLink: near, toLink: near },
    wrapped(
      'source',
      ['seal', 'give-away', 'take-back', 'confirm', 'resolve'],
      withCut(options.source, cut),
    ),
    { stopsReadingXl: true },
    output => new SourceRelay(output),
  )
  const destination = runRelay<DestinationQuestion, DestinationRelay>(
    { fromXl: receiver.stdout, toXl: receiver.stdin, fromLink: far, toLink: far },
    wrapped(
      'destination',
      ['prepare', 'accept', 'refuse', 'settle', 'hand-back'],
      withCut(options.destination, cut),
    ),
    { stopsReadingXl: false },
    output => new DestinationRelay(output),
  )
  await Promise.all([source.finished, destination.finished])
  const codes = await exits
  const log = (name: string): string[] =>
    existsSync(folder.file(name)) ? readFileSync(folder.file(name), 'utf8').trim().split('\n') : []
  return {
    asked,
    codes,
    source: log('source'),
    destination: log('destination'),
    outcome: source.machine.outcome,
    hasAccepted: destination.machine.hasAccepted,
  }
}

/** An answer may be `cut`: then the connection is lost before it is given. */
const CUT = async (): Promise<never> => {
  throw new Error('cut')
}
function withCut<Q extends string>(own: Partial<Answers<Q>> | undefined, cut: () => void) {
  const entries = Object.entries<Answers<Q>[Q] | undefined>(own ?? {})
  return Object.fromEntries(
    entries.map(([name, one]) => [
      name,
      one === CUT
        ? async () => {
            cut()
            await sleep(50)
          }
        : one,
    ]),
  ) as Partial<Answers<Q>>
}

test('memory of several MiB arrives byte by byte, and the guest runs there', async () => {
  const end = await migrate({ bytes: 8 * 2 ** 20 })
  expect(end.codes).toEqual([0, 0])
  expect(end.source).toEqual([expect.stringMatching(/^suspended /), 'renamed', 'destroyed'])
  expect(end.destination).toEqual([end.source[0]!.replace('suspended', 'paused'), 'running'])
  expect(end.asked).toEqual([
    'destination prepare',
    'source seal',
    'source give-away',
    'destination accept',
    'destination settle',
    'source confirm',
  ])
  expect(end.outcome).toBe('destination-owns')
})

test('the guest that cannot be created there runs on here', async () => {
  const end = await migrate({ receiver: ['fail-create'] })
  expect(end.destination).toEqual(['create failed'])
  expect(end.source.at(-1)).toBe('resume')
  expect(end.asked).toEqual(expect.arrayContaining(['destination refuse', 'source take-back']))
  expect([end.outcome, end.hasAccepted]).toEqual(['source-owns', false])
})

test('a destination that dies in the midst of memory: xl stops sending and runs on', async () => {
  const end = await migrate({ bytes: 8 * 2 ** 20, receiver: ['fail-early'] })
  expect(end.source).toEqual([expect.stringMatching(/^stream E(PIPE|CONNRESET)$/), 'resume'])
  expect(end.asked.sort()).toEqual(['destination refuse', 'source take-back'])
  expect(end.outcome).toBe('source-owns')
})

test('the guest that does not start there is handed back and resumed here', async () => {
  const end = await migrate({ receiver: ['fail-unpause'] })
  expect(end.destination.at(-1)).toBe('destroyed')
  expect(end.source.slice(1)).toEqual(['renamed', 'resume'])
  expect(end.asked.slice(-2)).toEqual(['destination hand-back', 'source take-back'])
  expect([end.outcome, end.hasAccepted]).toEqual(['source-owns', false])
})

test('a seal that fails: the source resumes, the destination destroys its copy', async () => {
  const end = await migrate({
    source: {
      seal: async () => {
        throw new Error('mirror is broken')
      },
    },
  })
  expect(end.source.at(-1)).toBe('resume')
  expect(end.destination.at(-1)).toBe('destroyed')
  expect(end.source).not.toContain('renamed')
})

test('a journal that fails: xl has given permission already, and still resumes', async () => {
  const end = await migrate({
    source: {
      'give-away': async () => {
        throw new Error('disk is full')
      },
    },
  })
  expect(end.source.slice(1)).toEqual(['renamed', 'resume'])
  expect(end.destination.at(-1)).toBe('destroyed')
  expect([end.outcome, end.hasAccepted]).toEqual(['source-owns', false])
})

test('a link that is cut while it is journalled: permission is withheld', async () => {
  const end = await migrate({ source: { 'give-away': CUT } })
  expect(end.source.slice(1)).toEqual(['renamed', 'resume'])
  expect(end.destination.at(-1)).toBe('destroyed')
  expect(end.asked).toContain('destination refuse')
})

test('a link that is cut after permission: what the owner finds out is what xl hears', async () => {
  for (const [outcome, last] of [
    ['destination-owns', 'destroyed'],
    ['undefined', 'failed badly'],
  ] as const) {
    const end = await migrate({
      destination: { accept: CUT },
      source: { resolve: async () => outcome },
    })
    expect(end.destination.at(-1)).toBe('running')
    expect(end.source.at(-1)).toBe(last)
    expect([end.outcome, end.hasAccepted]).toEqual([outcome, true])
  }
})

test('a destination that cannot journal never starts the guest, and says so', async () => {
  const end = await migrate({
    destination: {
      accept: async () => {
        throw new Error('EIO')
      },
    },
  })
  expect(end.destination.at(-1)).toBe('destroyed')
  expect(end.source.slice(1)).toEqual(['renamed', 'resume'])
  expect([end.outcome, end.hasAccepted]).toEqual(['source-owns', false])
})

test('while the other side takes nothing, xl is not read', async () => {
  const fromXl = new PassThrough({ highWaterMark: 64 * 1024 })
  const toLink = new PassThrough({ highWaterMark: 64 * 1024 })
  const fromLink = new PassThrough()
  const never = async (): Promise<void> => {}
  const relay = runRelay<SourceQuestion, SourceRelay>(
    { fromXl, toXl: new PassThrough().resume(), fromLink, toLink },
    { seal: never, 'give-away': never, 'take-back': never, confirm: never, resolve: never },
    { stopsReadingXl: true, endTimeoutMs: 100 },
    output => new SourceRelay(output),
  )
  fromLink.write(BANNER)
  let written = 0
  const chunk = Buffer.alloc(64 * 1024, 1)
  for (let round = 0; round < 200; round++) {
    if (fromXl.writableNeedDrain) {
      await sleep(1)
      continue
    }
    fromXl.write(chunk)
    written += chunk.length
  }
  expect(written).toBeLessThan(1024 * 1024)
  let taken = 0
  toLink.on('data', (bytes: Buffer) => {
    taken += bytes.length
  })
  await expect.poll(() => taken).toBe(written)
  fromXl.end()
  fromLink.end()
  await relay.finished
})

test('a question that is overtaken is told so, and the next waits for its end', async () => {
  const order: string[] = []
  const [fromXl, fromLink] = [new PassThrough(), new PassThrough()]
  const yes = async (): Promise<void> => {}
  const relay = runRelay<SourceQuestion, SourceRelay>(
    {
      fromXl,
      toXl: new PassThrough().resume(),
      fromLink,
      toLink: new PassThrough().resume(),
    },
    {
      seal: async signal => {
        await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve()))
        order.push('seal aborted')
        await sleep(20)
        order.push('seal ended')
      },
      'take-back': async () => {
        order.push('take-back')
      },
      'give-away': yes,
      confirm: yes,
      resolve: yes,
    },
    { stopsReadingXl: true },
    output => new SourceRelay(output),
  )
  fromLink.write(BANNER)
  fromLink.write('domain received, ready to unpause\0')
  await sleep(10)
  expect(relay.machine.cancel()).toBe(true)
  await relay.finished
  expect(order).toEqual(['seal aborted', 'seal ended', 'take-back'])
})
