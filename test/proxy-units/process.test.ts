/**
 * The whole process: how it ends, asked and unasked, and what it keeps of clients that have gone.
 */
import { once } from 'node:events'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import { NbdClient } from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { ServeProcess } from '../../src/demo/serve-process.ts'
import { until } from '../nbd/until.ts'
import { ENGINES, makeDisk, socketUri } from '../support/blkferry.ts'
import { type Temporary, temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024
const KEY = '00112233445566778899aabbccddeeff'

interface Served {
  readonly serve: ServeProcess
  readonly socket: string
  client(): Promise<NbdClient>
}

async function start(folder: Temporary, engine: string, isTls: boolean): Promise<Served> {
  const path = await makeDisk(folder.file('disk'), 4 * MIB)
  const socket = folder.file('nbd')
  const psk = folder.file('psk')
  writeFileSync(psk, `guest:${KEY}\n`)
  const words = ['--engine', engine, ...(isTls ? ['--tls-psk', psk] : [])]
  const listen = isTls ? socketUri(socket).replace('nbd+', 'nbds+') : socketUri(socket)
  const serve = await ServeProcess.start({ path, listen, words, control: folder.file('control') })
  const options = isTls ? { tls: { pskFile: psk, username: 'guest' } } : {}
  return { serve, socket, client: () => NbdClient.connect(serve.uri, options) }
}

function descriptors({ serve }: Served): number {
  return readdirSync(`/proc/${serve.pid}/fd`).length
}

describe.each(ENGINES)('a serving process on %s', engine => {
  test.each([false, true])(
    'keeps nothing of clients that have gone, and ends at once when asked (TLS: %s)',
    async tls => {
      await using folder = await temporary()
      const served = await start(folder, engine, tls)
      await using serve = served.serve
      await (await served.client()).disconnect()
      const before = descriptors(served)
      for (let round = 0; round < 2; round++) {
        const clients = await Promise.all(Array.from({ length: 8 }, () => served.client()))
        await Promise.all(clients.map(client => client.read(0, 102_400)))
        await Promise.all(clients.map(client => client.disconnect()))
      }
      await until(() => descriptors(served) <= before)

      const undecided = net.connect(served.socket)
      await once(undecided, 'data')
      const client = await served.client()
      serve.kill('SIGTERM')
      // It would be another code if it had to be ended by force.
      expect(await serve.ended).toBe(0)
      await expect(client.read(0, 512)).rejects.toThrow()
      await client.disconnect()
      undecided.destroy()
      expect(existsSync(served.socket)).toBe(false)
      expect(existsSync(folder.file('control'))).toBe(false)
    },
  )
})

test('when its data thread fails the process ends, says why, and clients see the end', async () => {
  await using folder = await temporary()
  const failure = folder.file('fail')
  const preload = folder.file('preload.mjs')
  writeFileSync(
    preload,
    `import { existsSync } from 'node:fs'
     import { isMainThread } from 'node:worker_threads'
     const look = () => {
       if (existsSync(${JSON.stringify(failure)})) throw new Error('a defect, for the test')
     }
     if (!isMainThread) setInterval(look, 20).unref()`,
  )
  process.env.NODE_OPTIONS = `--import ${preload}`
  const starting = start(folder, 'uring', true)
  const served = await starting.finally(() => {
    delete process.env.NODE_OPTIONS
  })
  await using serve = served.serve
  const client = await served.client()
  writeFileSync(failure, '')
  expect(await serve.ended).toBeGreaterThan(0)
  expect(serve.log).toContain('the data thread failed: a defect, for the test')
  await expect(client.read(0, 512)).rejects.toThrow()
  await client.disconnect()
  expect(existsSync(served.socket)).toBe(false)
})
