// ServerHandshake, and the codec under it, against the unmodified clients of libnbd and QEMU. The
// server around it keeps a disk in memory and answers one request at a time.

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import * as nbd from '../src/index.ts'
import { type ReceivedRequest, ScriptedServer } from './support/scripted-server.ts'
import { describeWith, makePskFile, TemporaryDirectory } from './support/tools.ts'

const run = promisify(execFile)
const SIZE = 1024 * 1024
const FLAGS = nbd.NBD_FLAG_SEND_FLUSH | nbd.NBD_FLAG_SEND_WRITE_ZEROES | nbd.NBD_FLAG_SEND_DF

/** A listening server over one disk; dispose it to stop. */
class DiskServer implements AsyncDisposable {
  readonly disk = randomBytes(SIZE)
  readonly sessions: ScriptedServer[] = []
  readonly socketPath: string
  readonly #server: Server
  readonly #sockets: Socket[] = []

  private constructor(directory: TemporaryDirectory, key?: Buffer) {
    this.socketPath = join(directory.path, 'nbd.sock')
    this.#server = createServer(stream => {
      this.#sockets.push(stream)
      const onRequest = (request: ReceivedRequest, session: ScriptedServer): void => {
        session.send(this.#answer(request, session.handshake.result!))
      }
      const startTls = key && ((plain: unknown) => secured(plain as Socket, key))
      const info = { size: SIZE, flags: FLAGS }
      this.sessions.push(
        new ScriptedServer({ stream, info, onRequest, ...(startTls && { startTls }) }),
      )
    })
  }

  static async listen(directory: TemporaryDirectory, key?: Buffer): Promise<DiskServer> {
    const server = new DiskServer(directory, key)
    await new Promise<void>(resolve => server.#server.listen(server.socketPath, resolve))
    return server
  }

  uri(scheme: string, query = ''): string {
    return `${scheme}://alice@/disk?socket=${this.socketPath}${query}`
  }

  #answer(
    { command, cookieHigh, cookie, offset, length, data }: ReceivedRequest,
    { structuredReplies }: nbd.ServerHandshakeResult,
  ): Uint8Array {
    const header = Buffer.alloc(64)
    const view = new DataView(header.buffer, header.byteOffset)
    const done = nbd.NBD_REPLY_FLAG_DONE
    if (command === nbd.NBD_CMD_READ && structuredReplies) {
      nbd.putOffsetData(view, 0, done, cookieHigh, cookie, offset, length)
      return Buffer.concat([header.subarray(0, 28), this.disk.subarray(offset, offset + length)])
    }
    if (command === nbd.NBD_CMD_BLOCK_STATUS) {
      nbd.putBlockStatus(view, 0, done, cookieHigh, cookie, 1, 1)
      nbd.putExtent(view, 24, length, 0)
      return header.subarray(0, 32)
    }
    if (command === nbd.NBD_CMD_WRITE) this.disk.set(data, offset)
    if (command === nbd.NBD_CMD_WRITE_ZEROES) this.disk.fill(0, offset, offset + length)
    nbd.putSimpleReply(view, 0, 0, cookieHigh, cookie)
    const read = command === nbd.NBD_CMD_READ ? this.disk.subarray(offset, offset + length) : []
    return Buffer.concat([header.subarray(0, 16), Uint8Array.from(read)])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise(resolve => this.#server.close(resolve))
  }
}

function secured(socket: Socket, key: Buffer): TLSSocket {
  const options = {
    isServer: true,
    ciphers: 'TLS_AES_128_GCM_SHA256:DHE-PSK-AES128-GCM-SHA256',
    pskCallback: (_socket: TLSSocket, identity: string) => (identity === 'alice' ? key : null),
  }
  return new TLSSocket(socket, options)
}

describeWith(['nbdinfo', 'nbdcopy'], 'libnbd', () => {
  test('nbdinfo sees the export as it was described', async () => {
    using directory = new TemporaryDirectory()
    await using server = await DiskServer.listen(directory)
    const { stdout } = await run('nbdinfo', ['--json', server.uri('nbd+unix')])
    expect(JSON.parse(stdout)).toMatchObject({
      protocol: 'newstyle-fixed',
      TLS: false,
      structured: true,
      exports: [
        {
          'export-name': 'disk',
          description: 'a disk',
          'export-size': SIZE,
          contexts: ['base:allocation', 'x-test:dirty'],
          block_size_minimum: 512,
          block_size_preferred: 4096,
          block_size_maximum: 32 * 1024 * 1024,
          can_df: true,
          can_flush: true,
          can_zero: true,
          can_trim: false,
        },
      ],
    })
  })

  test('nbdinfo lists it', async () => {
    using directory = new TemporaryDirectory()
    await using server = await DiskServer.listen(directory)
    const { stdout } = await run('nbdinfo', ['--list', '--json', server.uri('nbd+unix')])
    expect(JSON.parse(stdout).exports).toMatchObject([{ 'export-name': 'disk' }])
  })

  test('nbdcopy reads and writes it', async () => {
    using directory = new TemporaryDirectory()
    await using server = await DiskServer.listen(directory)
    const copy = directory.file('copy.raw')
    await run('nbdcopy', [server.uri('nbd+unix'), copy])
    expect(readFileSync(copy).equals(server.disk)).toBe(true)
    const fresh = randomBytes(SIZE)
    await run('nbdcopy', [directory.file('fresh.raw', fresh), server.uri('nbd+unix')])
    expect(server.disk.equals(fresh)).toBe(true)
  })

  test('nbdcopy reads it over TLS with a pre-shared key', async () => {
    using directory = new TemporaryDirectory()
    const keys = makePskFile(directory, 'alice')
    const key = nbd.parsePskFile(readFileSync(keys, 'utf8'), 'alice')
    await using server = await DiskServer.listen(directory, key)
    const copy = directory.file('copy.raw')
    await run('nbdcopy', [server.uri('nbds+unix', `&tls-psk-file=${keys}`), copy])
    expect(readFileSync(copy).equals(server.disk)).toBe(true)
    await expect(run('nbdinfo', [server.uri('nbd+unix')])).rejects.toThrow(
      'server replied with error',
    )
  })
})

describeWith(['qemu-img'], 'qemu-img', () => {
  test('reads it', async () => {
    using directory = new TemporaryDirectory()
    await using server = await DiskServer.listen(directory)
    const copy = directory.file('copy.raw')
    const uri = `nbd+unix:///disk?socket=${server.socketPath}`
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, copy])
    expect(readFileSync(copy).equals(server.disk)).toBe(true)
  })
})
