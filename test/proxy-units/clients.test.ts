/** Clients between the listener and the data thread: counted, and gone when they should be. */
import { once } from 'node:events'
import net from 'node:net'
import { NbdClient } from 'nbd-client-ts'
import { type Logger, pino } from 'pino'
import { expect, test } from 'vitest'
import { MemoryDevice } from '../../src/block/memory.ts'
import { check, close } from '../../src/io/libc.ts'
import { exportInfo } from '../../src/nbd/export-info.ts'
import { Clients } from '../../src/proxy/clients.ts'
import { until } from '../nbd/until.ts'
import { temporary } from '../support/temporary.ts'

const NEGOTIATION = {
  exports: new Map([['', exportInfo(new MemoryDevice(512).info, '')]]),
  defaultExport: '',
  tlsKeys: undefined,
}

/** Takes clients over and does nothing with them. */
class Data {
  readonly fds: number[] = []
  isBroken = false
  #leave: (() => void)[] = []

  readonly call = ((_: string, { fd }: { fd: number }): Promise<unknown> => {
    this.fds.push(fd)
    if (this.isBroken) return Promise.reject(new Error('the data thread has ended'))
    return new Promise<unknown>(resolve => {
      this.#leave.push(() => {
        check(close(fd), 'close')
        resolve('peer is gone')
      })
    })
  }) as ConstructorParameters<typeof Clients>[0]['call']

  letGo(): void {
    for (const leave of this.#leave.splice(0)) leave()
  }
}

async function serve(countMax: number) {
  const folder = await temporary()
  const lines: { reason?: string; msg: string }[] = []
  const log: Logger = pino({ level: 'info' }, { write: line => lines.push(JSON.parse(line)) })
  const data = new Data()
  const clients = new Clients(data, log, countMax)
  const listener = net.createServer(socket => clients.accept(socket, NEGOTIATION))
  listener.listen(folder.file('socket'))
  await once(listener, 'listening')
  const dial = async (): Promise<net.Socket> => {
    const socket = net.connect(folder.file('socket'))
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }
  const dispose = async (): Promise<void> => {
    listener.close()
    await folder[Symbol.asyncDispose]()
  }
  return { clients, data, lines, dial, [Symbol.asyncDispose]: dispose }
}

test('one client too many is turned away, until another has gone', async () => {
  await using server = await serve(2)
  const idle = await server.dial()
  const second = NbdClient.connect(await server.dial())
  second.catch(() => undefined)
  await until(() => server.data.fds.length === 1)
  const third = await server.dial()
  await once(third.resume(), 'close')
  expect(server.lines.map(({ msg }) => msg)).toEqual(['client turned away: too many connections'])
  idle.destroy()
  await until(() => server.lines.length === 2)
  const fourth = await server.dial()
  const [greeting] = await once(fourth, 'data')
  expect((greeting as Buffer).subarray(0, 8).toString()).toBe('NBDMAGIC')
  fourth.destroy()
  server.data.letGo()
  await server.clients.close()
})

test('a close turns away who has not chosen, and waits for the others', async () => {
  await using server = await serve(8)
  const undecided = await server.dial()
  const decided = NbdClient.connect(await server.dial())
  decided.catch(() => undefined)
  await until(() => server.data.fds.length === 1)
  let isClosed = false
  const closed = server.clients.close().then(() => {
    isClosed = true
  })
  await once(undecided.resume(), 'close')
  await new Promise(setImmediate)
  expect(isClosed).toBe(false)
  server.data.letGo()
  await closed
  const late = await server.dial()
  await once(late.resume(), 'close')
})

test('clients of a data thread that has failed are lost, one line for each', async () => {
  await using server = await serve(8)
  server.data.isBroken = true
  const client = NbdClient.connect(await server.dial())
  client.catch(() => undefined)
  await until(() => server.lines.length === 1)
  expect(server.lines[0]).toMatchObject({
    msg: 'client lost',
    reason: 'the data thread has ended',
  })
  for (const fd of server.data.fds) check(close(fd), 'close')
  await expect(client).rejects.toThrow()
  await server.clients.close()
})
