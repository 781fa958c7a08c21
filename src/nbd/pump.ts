/**
 * Joins a decrypted stream to one end of a socket pair, so that the data thread has a socket of its
 * own with TLS too. Both directions go in large pieces, since what costs is not the cipher but
 * every single trip through the event loop.
 */
import * as net from 'node:net'
import type { Duplex } from 'node:stream'
import { check, socketpair } from '../io/libc.ts'
import { setSendBuffer } from '../io/libc-control.ts'

/** Most bytes that go from the socket pair into the stream at once. */
const PIECE = 512 * 1024
/** What may wait in this thread for the data thread (bytes). */
const WAITING_MAX = 1024 * 1024

/**
 * Returns the other end of the socket pair, which the receiver owns, and this thread's end. When
 * one side ends or fails, so does the other. Throws if there is no descriptor left.
 */
export function joinToSocketPair(
  stream: Duplex,
  sendBuffer: number,
): { readonly fd: number; readonly plain: net.Socket } {
  const [ours, fd] = socketpair()
  for (const end of [ours, fd]) check(setSendBuffer(end, sendBuffer), 'setsockopt')
  const plain: net.Socket = new net.Socket({
    fd: ours,
    readable: true,
    writable: true,
    allowHalfOpen: true,
    writableHighWaterMark: WAITING_MAX,
    onread: {
      buffer: Buffer.allocUnsafeSlow(PIECE),
      // The buffer is the stream's until it has taken all of it; only then is more read.
      callback: (length: number, buffer: Uint8Array) => {
        stream.write(buffer.subarray(0, length), () => plain.resume())
        return false
      },
    },
  } as net.SocketConstructorOpts)
  plain.on('end', () => stream.end())
  plain.on('drain', () => stream.resume())
  plain.on('error', () => stream.destroy())
  plain.on('close', () => stream.destroy())
  stream.on('data', (bytes: Uint8Array) => {
    // TLS hands out record by record; all of a turn leave together.
    if (plain.writableCorked === 0) {
      plain.cork()
      setImmediate(() => plain.uncork())
    }
    if (!plain.write(bytes)) stream.pause()
  })
  stream.on('end', () => plain.end())
  stream.on('error', () => plain.destroy())
  stream.on('close', () => plain.destroy())
  plain.resume()
  stream.resume()
  return { fd, plain }
}
