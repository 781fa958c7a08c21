/**
 * The far end of an NBD connection, played by a test: it sees requests as they arrive and says what
 * it is told to, true or not. Only the transmission phase exists here.
 */
import { once } from 'node:events'
import { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  NBD_CMD_WRITE,
  putErrorChunk,
  putOffsetData,
  putSimpleReply,
  putStructuredReply,
  REQUEST_SIZE,
} from 'nbd-client-ts'
import { check, socketpair } from '../../src/io/libc.ts'

/** Longest wait for a request (ms). */
const WAIT_MS = 5000

export interface SeenRequest {
  readonly flags: number
  readonly command: number
  readonly cookieHigh: number
  readonly cookieLow: number
  readonly offset: number
  readonly length: number
  readonly payload: Buffer
}

export class ScriptedServer {
  /** The client's end of the connection. */
  readonly fd: number
  readonly socket: Socket
  readonly requests: SeenRequest[] = []
  #chunks: Buffer[] = []
  #received = 0
  /** Bytes without which there is no point in looking again. */
  #wanted = REQUEST_SIZE

  constructor() {
    const [client, server] = socketpair()
    this.fd = check(client, 'socketpair')
    this.socket = new Socket({ fd: server, readable: true, writable: true })
    this.socket.on('error', () => {})
    this.socket.on('data', bytes => {
      this.#chunks.push(bytes)
      this.#received += bytes.length
      while (this.#received >= this.#wanted) this.#takeRequest()
    })
  }

  /** The request at `index`, as soon as it is here. Rejects if it does not come. */
  async request(index = 0): Promise<SeenRequest> {
    const deadline = performance.now() + WAIT_MS
    while (this.requests.length <= index) {
      if (performance.now() > deadline) throw new Error(`scripted server: no request ${index}`)
      await sleep(1)
    }
    return this.requests[index]!
  }

  say(...parts: Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts))
  }

  /** Ends the connection and waits until it is closed. */
  async hangUp(): Promise<void> {
    if (this.socket.destroyed) return
    const closed = once(this.socket, 'close')
    this.socket.destroy()
    await closed
  }

  #takeRequest(): void {
    const bytes = Buffer.concat(this.#chunks)
    this.#chunks = [bytes]
    const command = bytes.readUInt16BE(6)
    const length = bytes.readUInt32BE(24)
    const end = REQUEST_SIZE + (command === NBD_CMD_WRITE ? length : 0)
    this.#wanted = end
    if (bytes.length < end) return
    this.requests.push({
      flags: bytes.readUInt16BE(4),
      command,
      cookieHigh: bytes.readUInt32BE(8),
      cookieLow: bytes.readUInt32BE(12),
      offset: Number(bytes.readBigUInt64BE(16)),
      length,
      payload: bytes.subarray(REQUEST_SIZE, end),
    })
    this.#chunks = [bytes.subarray(end)]
    this.#received -= end
    this.#wanted = REQUEST_SIZE
  }
}

type Cookie = Pick<SeenRequest, 'cookieHigh' | 'cookieLow'>

function message(size: number, put: (view: DataView) => void): Buffer {
  const bytes = Buffer.alloc(size)
  put(new DataView(bytes.buffer, bytes.byteOffset, size))
  return bytes
}

export function simpleReply({ cookieHigh, cookieLow }: Cookie, error = 0): Buffer {
  return message(16, view => putSimpleReply(view, 0, error, cookieHigh, cookieLow))
}

/** A structured chunk with any payload. */
export function chunk(cookie: Cookie, flags: number, type: number, payload: Uint8Array): Buffer {
  const { cookieHigh, cookieLow } = cookie
  const header = message(20, view =>
    putStructuredReply(view, 0, flags, type, cookieHigh, cookieLow, payload.length),
  )
  return Buffer.concat([header, payload])
}

export function dataChunk(cookie: Cookie, flags: number, offset: number, data: Uint8Array): Buffer {
  const { cookieHigh, cookieLow } = cookie
  const header = message(28, view =>
    putOffsetData(view, 0, flags, cookieHigh, cookieLow, offset, data.length),
  )
  return Buffer.concat([header, data])
}

export function errorChunk(
  { cookieHigh, cookieLow }: Cookie,
  flags: number,
  error: number,
): Buffer {
  return message(26, view => putErrorChunk(view, 0, flags, cookieHigh, cookieLow, error))
}

/** Big-endian u32s, for payloads. */
export function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * 4)
  return bytes
}
