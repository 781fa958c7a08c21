/** The control connection across proxies: who waits, what is started again, what ends. */
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { ProxyControl } from '../../src/chain/proxy-control.ts'
import { listenControl } from '../../src/control/channel.ts'
import { ControlError } from '../../src/control/control-error.ts'
import type { MirrorStartParams } from '../../src/control/messages.ts'
import { mirrorSample, sampleHandlers } from '../control/samples.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const log = pino({ level: 'silent' })
const soon = { timeoutMs: 5000 }
const mirror: MirrorStartParams = {
  target: 'nbd://10.0.0.2/web1',
  copyMode: 'auto',
  bandwidth: 0,
  granularity: 65536,
  stallMs: 1000,
  reconnectSeconds: 30,
}

/** A proxy as far as its control socket goes; `started` is what it was told to mirror. */
async function proxyIn(folder: Temporary, refusals = 0) {
  const started: MirrorStartParams[] = []
  let refusalsLeft = refusals
  const handlers = {
    ...sampleHandlers(),
    'mirror-start': async (params: MirrorStartParams) => {
      if (refusalsLeft-- > 0) throw ControlError.refuse('target-unreachable', 'not yet')
      started.push(params)
      return mirrorSample
    },
    'mirror-set': async () => mirrorSample,
    'mirror-cancel': async () => mirrorSample,
  }
  const server = await listenControl(folder.file('control'), handlers, log)
  return { started, [Symbol.asyncDispose]: () => server.close() }
}

test('a call waits for the next proxy, and until its mirror goes on', async () => {
  await using folder = await temporary()
  const control = new ProxyControl(folder.file('control'))
  {
    await using _first = await proxyIn(folder)
    await control.attach()
    await control.open()
    await control.call('mirror-start', mirror, soon)
    await control.call('mirror-set', { bandwidth: 1000, copyMode: 'write-blocking' }, soon)
    control.detach()
  }
  let isAnswered = false
  const call = control.call('mirror-status', {}, soon).then(() => {
    isAnswered = true
  })
  await using second = await proxyIn(folder, 2)
  await control.attach()
  await control.status(5000)
  expect(isAnswered).toBe(false)
  await control.open()
  await call
  expect(second.started).toEqual([{ ...mirror, bandwidth: 1000, copyMode: 'write-blocking' }])
  control.end('over')
})

test('a mirror that was cancelled is not started again', async () => {
  await using folder = await temporary()
  const control = new ProxyControl(folder.file('control'))
  {
    await using _first = await proxyIn(folder)
    await control.attach()
    await control.open()
    await control.call('mirror-start', mirror, soon)
    await control.call('mirror-cancel', {}, soon)
    control.detach()
  }
  await using second = await proxyIn(folder)
  await control.attach()
  await control.open()
  expect(second.started).toEqual([])
  control.end('over')
})

test('calls that wait, and all later ones, fail when there will be no proxy any more', async () => {
  await using folder = await temporary()
  const control = new ProxyControl(folder.file('control'))
  const waiting = control.call('status', {}, soon)
  const failed = expect(waiting).rejects.toMatchObject({ code: 'closed', message: 'it is lost' })
  control.end('it is lost')
  await failed
  await expect(control.call('status', {}, soon)).rejects.toMatchObject({ code: 'closed' })
})

test('a call that finds no proxy in time says so', async () => {
  await using folder = await temporary()
  const control = new ProxyControl(folder.file('control'))
  const call = control.call('mirror-status', {}, { timeoutMs: 30 })
  await expect(call).rejects.toMatchObject({ code: 'timeout' })
  control.end('over')
})
