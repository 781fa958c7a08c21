/** The end of a server: what is under way is answered, and then nothing waits for anything. */
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { NbdClient } from 'nbd-client-ts'
import { describe, expect, test } from 'vitest'
import { chain } from '../../src/block/chain.ts'
import { checked } from '../../src/block/checked.ts'
import { MemoryDevice } from '../../src/block/memory.ts'
import { Arena } from '../../src/io/arena.ts'
import { ENGINE_NAMES } from '../../src/io/engine.ts'
import { openEngine } from '../../src/io/open-engine.ts'
import { Counters } from '../../src/nbd/counters.ts'
import { exportInfo } from '../../src/nbd/export-info.ts'
import { negotiate } from '../../src/nbd/negotiation.ts'
import { Transmission } from '../../src/nbd/transmission.ts'
import { temporary } from '../support/temporary.ts'

const MIB = 1024 * 1024

describe.each(ENGINE_NAMES)('a server on %s', name => {
  test('closes as soon as the reply that was being sent has left', async () => {
    await using folder = await temporary()
    const { engine } = openEngine(name, { blockMsMax: 1 })
    const device = chain(checked, new MemoryDevice(32 * MIB))
    const arena = new Arena([{ payload: 32 * MIB, count: 1 }])
    const transmission = new Transmission(engine, device, arena, new Counters())
    const exports = new Map([['', exportInfo(device.info, '')]])
    const path = folder.file('server')
    const server = createServer(async socket => {
      const options = { exports, defaultExport: '', tlsKeys: undefined }
      const { fd, acknowledgement, leftover } = (await negotiate(socket, options))!
      const handover = { fd, acknowledgement, leftover, structuredReplies: true, contextId: 0 }
      transmission.attach({ ...handover, closed: () => {} })
    }).listen(path)
    await once(server, 'listening')
    const socket = connect(path)
    const client = await NbdClient.connect(socket)
    const data = client.read(0, 32 * MIB)
    socket.pause()
    await new Promise(resolve => setTimeout(resolve, 50))
    const stopped = transmission.stop(600_000)
    socket.resume()
    expect((await data).length).toBe(32 * MIB)
    await stopped
    server.close()
    await device.close()
    await engine.close()
    arena.close()
  })
})
