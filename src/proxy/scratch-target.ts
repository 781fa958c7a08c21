/**
 * A mirror's target for a rehearsal: an NBD server in the control thread that keeps nothing, reads
 * as zeroes and believes its client, which is this process.
 */
import net from 'node:net'
import {
  NBD_CMD_DISC,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_FLAG_SEND_FLUSH,
  putSimpleReply,
  REQUEST_COMMAND_AT,
  REQUEST_COOKIE_HIGH_AT,
  REQUEST_COOKIE_LOW_AT,
  REQUEST_LENGTH_AT,
  REQUEST_SIZE,
  ServerHandshake,
  SIMPLE_REPLY_SIZE,
} from 'nbd-client-ts'

const BLOCK_SIZE = { minimum: 1, preferred: 4096, maximum: 32 * 1024 * 1024 }

/** Listens at `path`, a unix socket; settles with what ends it. */
export async function serveScratchTarget(path: string, size: number): Promise<() => void> {
  const sockets = new Set<net.Socket>()
  const server = net.createServer(socket => {
    sockets.add(socket)
    // The other end is ours and is being closed.
    socket.on('error', () => {})
    socket.on('data', talk(socket, size))
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
  return () => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
}

/** Greets, and returns what takes the client's bytes, cut anywhere. */
function talk(socket: net.Socket, size: number): (bytes: Buffer) => void {
  const info = { size, flags: NBD_FLAG_SEND_FLUSH, blockSize: BLOCK_SIZE }
  const exports = new Map([['', info]])
  const handshake = new ServerHandshake({ exports, defaultExport: '', tls: 'off' })
  socket.write(handshake.takeOutput())
  let isOpen = false
  let pending: Buffer = Buffer.alloc(0)
  return bytes => {
    if (isOpen) {
      pending = Buffer.concat([pending, bytes])
    } else {
      handshake.feed(bytes)
      socket.write(handshake.takeOutput())
      if (handshake.state !== 'transmission') return
      isOpen = true
      socket.write(handshake.takeAcknowledgement())
      pending = Buffer.from(handshake.takeLeftover())
    }
    pending = answer(socket, pending)
  }
}

/** Answers the whole requests; returns the rest. */
function answer(socket: net.Socket, bytes: Buffer): Buffer {
  let at = 0
  while (bytes.length - at >= REQUEST_SIZE) {
    const command = bytes.readUInt16BE(at + REQUEST_COMMAND_AT)
    const length = bytes.readUInt32BE(at + REQUEST_LENGTH_AT)
    const end = at + REQUEST_SIZE + (command === NBD_CMD_WRITE ? length : 0)
    if (bytes.length < end) break
    if (command === NBD_CMD_DISC) {
      socket.end()
      return Buffer.alloc(0)
    }
    const reply = Buffer.alloc(SIMPLE_REPLY_SIZE + (command === NBD_CMD_READ ? length : 0))
    const [high, low] = [REQUEST_COOKIE_HIGH_AT, REQUEST_COOKIE_LOW_AT]
    const view = new DataView(reply.buffer, reply.byteOffset)
    putSimpleReply(view, 0, 0, bytes.readUInt32BE(at + high), bytes.readUInt32BE(at + low))
    socket.write(reply)
    at = end
  }
  return bytes.subarray(at)
}
