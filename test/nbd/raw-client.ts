/**
 * The client's end of a connection in the transmission phase, for a test to speak for: requests of
 * any kind, in any pieces, and replies as they are on the wire.
 */
import { once } from 'node:events'
import type net from 'node:net'
import {
  ERROR_CHUNK_PREFIX_SIZE,
  EXTENT_SIZE,
  NBD_CMD_DISC,
  NBD_CMD_READ,
  putRequest,
  REQUEST_SIZE,
  SIMPLE_REPLY_SIZE,
  STRUCTURED_REPLY_SIZE,
} from 'nbd-client-ts'

const SIMPLE_MAGIC = 0x67446698
const ERROR_TYPE = 0x8001
const BLOCK_STATUS_TYPE = 5
const OFFSET_DATA_TYPE = 1

export interface RawRequest {
  readonly command: number
  readonly flags?: number
  readonly cookie?: number
  /** A bigint is sent as it is. */
  readonly offset?: number | bigint
  readonly length?: number
  readonly payload?: Uint8Array
}

export interface RawReply {
  readonly isStructured: boolean
  readonly cookie: number
  readonly error: number
  readonly data: Buffer
  /** Of a block status. */
  readonly extents: { length: number; flags: number }[]
}

/** The bytes of a request. `length` is that of the payload unless it is given, true or not. */
export function requestBytes(request: RawRequest): Buffer {
  const { command, flags = 0, cookie = 1, offset = 0, payload = new Uint8Array() } = request
  const { length = payload.length } = request
  const header = Buffer.alloc(REQUEST_SIZE)
  const view = new DataView(header.buffer, header.byteOffset, REQUEST_SIZE)
  putRequest(view, 0, flags, command, 0, cookie, 0, length)
  header.writeBigUInt64BE(BigInt(offset), 16)
  return Buffer.concat([header, payload])
}

export const DISCONNECT = requestBytes({ command: NBD_CMD_DISC })

export class RawClient {
  readonly socket: net.Socket
  readonly #isStructured: boolean
  /** Lengths of reads sent, by cookie: a simple reply does not tell. */
  readonly #readLengths = new Map<number, number>()
  /** What has arrived, the first piece holding at most one reply that is not whole. */
  #received: Buffer
  readonly #pieces: Buffer[] = []
  #piecesLength = 0
  /** Bytes without which the first reply cannot be whole. */
  #wanted = SIMPLE_REPLY_SIZE
  #isEnded = false
  #arrived = (): void => {}

  constructor(socket: net.Socket, isStructured: boolean, received: Uint8Array) {
    this.socket = socket
    this.#isStructured = isStructured
    this.#received = Buffer.from(received)
    socket.on('data', bytes => {
      this.#pieces.push(bytes)
      this.#piecesLength += bytes.length
      this.#arrived()
    })
    socket.on('close', () => this.#end())
    socket.on('end', () => this.#end())
    socket.resume()
  }

  /** Sends requests, all in one piece. */
  send(...requests: readonly RawRequest[]): void {
    for (const request of requests) this.expect(request)
    this.socket.write(Buffer.concat(requests.map(requestBytes)))
  }

  /** Notes a request that the test sends by itself. */
  expect({ command, cookie = 1, length = 0 }: RawRequest): void {
    if (command === NBD_CMD_READ) this.#readLengths.set(cookie, length)
  }

  async request(request: RawRequest): Promise<RawReply> {
    this.send(request)
    return await this.reply()
  }

  /** The next reply; rejects if the connection ends before it. */
  async reply(): Promise<RawReply> {
    for (;;) {
      const reply = this.#take()
      if (reply !== undefined) return reply
      if (this.#isEnded) throw new Error('raw client: the connection ended')
      await new Promise<void>(resolve => {
        this.#arrived = resolve
      })
    }
  }

  /** All replies and what is left, when the server has closed. */
  async rest(): Promise<RawReply[]> {
    if (!this.#isEnded) await once(this.socket, 'close')
    const replies: RawReply[] = []
    for (;;) {
      const reply = this.#take()
      if (reply === undefined) return replies
      replies.push(reply)
    }
  }

  /** Waits until the server has ended the connection. */
  async ended(): Promise<void> {
    while (!this.#isEnded) {
      await new Promise<void>(resolve => {
        this.#arrived = resolve
      })
    }
  }

  /** Goes away without a word; resolves when the kernel has closed. */
  async die(): Promise<void> {
    if (this.socket.closed) return
    const closed = once(this.socket, 'close')
    this.socket.destroy()
    await closed
  }

  #end(): void {
    this.#isEnded = true
    this.#arrived()
  }

  /** True when `length` bytes of the first reply have arrived. */
  #has(length: number): boolean {
    this.#wanted = length
    return this.#received.length >= length
  }

  #take(): RawReply | undefined {
    if (this.#received.length + this.#piecesLength < this.#wanted) return undefined
    this.#received = Buffer.concat([this.#received, ...this.#pieces.splice(0)])
    this.#piecesLength = 0
    const bytes = this.#received
    if (!this.#has(SIMPLE_REPLY_SIZE)) return undefined
    if (bytes.readUInt32BE(0) === SIMPLE_MAGIC) return this.#takeSimple(bytes)
    if (!this.#has(STRUCTURED_REPLY_SIZE)) return undefined
    const end = STRUCTURED_REPLY_SIZE + bytes.readUInt32BE(16)
    if (!this.#has(end)) return undefined
    this.#received = bytes.subarray(end)
    this.#wanted = SIMPLE_REPLY_SIZE
    const type = bytes.readUInt16BE(6)
    const cookie = bytes.readUInt32BE(12)
    const payload = bytes.subarray(STRUCTURED_REPLY_SIZE, end)
    if (type === ERROR_TYPE) {
      if (payload.length < ERROR_CHUNK_PREFIX_SIZE) throw new Error('raw client: short error')
      const error = payload.readUInt32BE(0)
      return { isStructured: true, cookie, error, data: Buffer.alloc(0), extents: [] }
    }
    const isData = type === OFFSET_DATA_TYPE
    const data = isData ? payload.subarray(8) : Buffer.alloc(0)
    const extents = type === BLOCK_STATUS_TYPE ? extentsOf(payload.subarray(4)) : []
    return { isStructured: true, cookie, error: 0, data, extents }
  }

  #takeSimple(bytes: Buffer): RawReply | undefined {
    const error = bytes.readUInt32BE(4)
    const cookie = bytes.readUInt32BE(12)
    const hasData = error === 0 && !this.#isStructured
    const end = SIMPLE_REPLY_SIZE + (hasData ? (this.#readLengths.get(cookie) ?? 0) : 0)
    if (!this.#has(end)) return undefined
    this.#received = bytes.subarray(end)
    this.#wanted = SIMPLE_REPLY_SIZE
    this.#readLengths.delete(cookie)
    const data = bytes.subarray(SIMPLE_REPLY_SIZE, end)
    return { isStructured: false, cookie, error, data, extents: [] }
  }
}

function extentsOf(payload: Buffer): { length: number; flags: number }[] {
  return Array.from({ length: payload.length / EXTENT_SIZE }, (_, index) => ({
    length: payload.readUInt32BE(index * EXTENT_SIZE),
    flags: payload.readUInt32BE(index * EXTENT_SIZE + 4),
  }))
}
