// A promise client for one export over one connection: it splits what is larger than the server
// takes, checks what the protocol forbids before sending it, and leaves the rest to Channel.
// A request that was split succeeds only if every part did. Ranges are in bytes.

import type { Duplex } from 'node:stream'
import { Channel, type ChannelOptions, commandName } from './channel.ts'
import type { ClientHandshakeResult, ListedExport } from './client-options.ts'
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_FLAG_FAST_ZERO,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_ENOTSUP,
  NBD_FLAG_SEND_CACHE,
  NBD_FLAG_SEND_FAST_ZERO,
  NBD_FLAG_SEND_FLUSH,
  NBD_FLAG_SEND_FUA,
  NBD_FLAG_SEND_TRIM,
  NBD_FLAG_SEND_WRITE_ZEROES,
  NBD_META_BASE_ALLOCATION,
  NBD_STATE_HOLE,
  NBD_STATE_ZERO,
} from './constants.ts'
import { NbdError } from './errors.ts'
import { EFFECT_LENGTH_MAX, EXTENTS_PER_REPLY_MAX, PAYLOAD_MAX } from './limits.ts'
import { checkRange } from './request-rules.ts'
import { exportInfo, listExports, openSession, type SessionOptions } from './session.ts'

export interface NbdClientOptions extends SessionOptions, ChannelOptions {}

/** A range with one allocation status, following the one before it. */
export interface BlockStatusExtent {
  readonly length: number
  /** Not allocated. */
  readonly hole: boolean
  /** Reads as zeroes. */
  readonly zero: boolean
}

export interface WriteOptions {
  /** Settle only once the bytes are on stable storage. */
  readonly fua?: boolean
}

export interface WriteZeroesOptions extends WriteOptions {
  /** Keep the range allocated. */
  readonly noHole?: boolean
  /** Fail with ENOTSUP, at once, where zeroing would be no faster than writing. */
  readonly fastZero?: boolean
}

/** A connected export. */
export class NbdClient implements AsyncDisposable {
  readonly #channel: Channel
  readonly #info: ClientHandshakeResult

  private constructor(channel: Channel, info: ClientHandshakeResult) {
    this.#channel = channel
    this.#info = info
  }

  /**
   * Connects to a URI, or negotiates over a connected stream, which the client then owns. Rejects
   * with ConnectionError, ProtocolError, NbdError if the server refuses, SyntaxError for a bad URI.
   */
  static async connect(
    target: Duplex | string,
    options: NbdClientOptions = {},
  ): Promise<NbdClient> {
    const session = await openSession(target, options)
    return new NbdClient(new Channel(session, options), session.result)
  }

  /** The exports a server lists. Uses a connection of its own; rejects like connect(). */
  static list(
    target: Duplex | string,
    options: SessionOptions = {},
  ): Promise<readonly ListedExport[]> {
    return listExports(target, options)
  }

  /** What a server says about an export. Uses a connection of its own; rejects like connect(). */
  static info(
    target: Duplex | string,
    options: SessionOptions = {},
  ): Promise<ClientHandshakeResult> {
    return exportInfo(target, options)
  }

  /** What was negotiated. */
  get info(): ClientHandshakeResult {
    return this.#info
  }

  /** Size of the export in bytes. */
  get size(): number {
    return this.#info.size
  }

  /** Whether requests can still be sent. */
  get isConnected(): boolean {
    return this.#channel.failure === undefined
  }

  /** Whether the server advertised all these transmission flags (NBD_FLAG_*). */
  has(flags: number): boolean {
    return (this.#info.flags & flags) === flags
  }

  /** Reads a range into a new Buffer. */
  async read(offset: number, length: number): Promise<Buffer> {
    checkRange(this.#info, NBD_CMD_READ, offset, length)
    const buffer = Buffer.allocUnsafe(length)
    await this.readInto(offset, buffer)
    return buffer
  }

  /** Fills `destination`, whose contents mean nothing until, and unless, the promise resolves. */
  async readInto(offset: number, destination: Uint8Array): Promise<void> {
    checkRange(this.#info, NBD_CMD_READ, offset, destination.length)
    await this.#split(offset, destination.length, this.#payloadMax(), (at, length) => {
      const from = at - offset
      const part = destination.subarray(from, from + length)
      const request = { command: NBD_CMD_READ, flags: 0, offset: at, length, destination: part }
      return this.#channel.send(request)
    })
  }

  /** Writes `source`, which must not change until the promise settles. */
  async write(offset: number, source: Uint8Array, options: WriteOptions = {}): Promise<void> {
    checkRange(this.#info, NBD_CMD_WRITE, offset, source.length)
    const flags = this.#fuaFlag(options)
    await this.#split(offset, source.length, this.#payloadMax(), (at, length) => {
      const from = at - offset
      const part = source.subarray(from, from + length)
      const request = { command: NBD_CMD_WRITE, flags, offset: at, length, source: part }
      return this.#channel.send(request)
    })
  }

  /** Makes everything that this client has written, and seen answered, durable. */
  async flush(): Promise<void> {
    this.#need(NBD_CMD_FLUSH, NBD_FLAG_SEND_FLUSH)
    await this.#channel.send({ command: NBD_CMD_FLUSH, flags: 0, offset: 0, length: 0 })
  }

  /** Says that a range is not needed; what it reads as afterwards is open. */
  async trim(offset: number, length: number, options: WriteOptions = {}): Promise<void> {
    this.#need(NBD_CMD_TRIM, NBD_FLAG_SEND_TRIM)
    await this.#effect(NBD_CMD_TRIM, this.#fuaFlag(options), offset, length)
  }

  /** Makes a range read as zeroes. */
  async writeZeroes(
    offset: number,
    length: number,
    options: WriteZeroesOptions = {},
  ): Promise<void> {
    this.#need(NBD_CMD_WRITE_ZEROES, NBD_FLAG_SEND_WRITE_ZEROES)
    let flags = this.#fuaFlag(options)
    if (options.noHole) flags |= NBD_CMD_FLAG_NO_HOLE
    if (options.fastZero) {
      this.#need(NBD_CMD_WRITE_ZEROES, NBD_FLAG_SEND_FAST_ZERO)
      flags |= NBD_CMD_FLAG_FAST_ZERO
    }
    await this.#effect(NBD_CMD_WRITE_ZEROES, flags, offset, length)
  }

  /** Says that a range will be read soon. */
  async cache(offset: number, length: number): Promise<void> {
    this.#need(NBD_CMD_CACHE, NBD_FLAG_SEND_CACHE)
    await this.#effect(NBD_CMD_CACHE, 0, offset, length)
  }

  /**
   * Allocation of a range, as extents from `offset` on that cover it. Where a range has more than
   * EXTENTS_PER_REPLY_MAX of them they cover only its beginning. Rejects with ENOTSUP if the
   * server does not have the context base:allocation.
   */
  async blockStatus(offset: number, length: number): Promise<BlockStatusExtent[]> {
    checkRange(this.#info, NBD_CMD_BLOCK_STATUS, offset, length)
    const context = this.#info.contexts.find(({ name }) => name === NBD_META_BASE_ALLOCATION)
    if (!context) {
      throw new NbdError('block status: the server has no base:allocation', NBD_ENOTSUP)
    }
    const extents: BlockStatusExtent[] = []
    const end = offset + length
    for (let at = offset; at < end && extents.length < EXTENTS_PER_REPLY_MAX; ) {
      const wanted = Math.min(end - at, EFFECT_LENGTH_MAX)
      const request = { command: NBD_CMD_BLOCK_STATUS, flags: 0, offset: at, length: wanted }
      const reply = await this.#channel.send(request)
      for (const extent of reply.extents.get(context.id) ?? []) {
        // The last extent of a reply may go beyond the request.
        const extentLength = Math.min(extent.length, end - at)
        if (extentLength > 0) append(extents, extentLength, extent.flags)
        at += extentLength
      }
    }
    return extents
  }

  /** Waits for what is in flight, then disconnects. Never rejects; idempotent. */
  disconnect(): Promise<void> {
    return this.#channel.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.disconnect()
  }

  #payloadMax(): number {
    return alignDown(Math.min(this.#info.blockSize.maximum, PAYLOAD_MAX), this.#info.blockSize)
  }

  async #effect(command: number, flags: number, offset: number, length: number): Promise<void> {
    checkRange(this.#info, command, offset, length)
    await this.#split(offset, length, EFFECT_LENGTH_MAX, (at, partLength) =>
      this.#channel.send({ command, flags, offset: at, length: partLength }),
    )
  }

  /** All parts are settled before this does: the caller's memory is free afterwards. */
  async #split(
    offset: number,
    length: number,
    partMax: number,
    send: (offset: number, length: number) => Promise<unknown>,
  ): Promise<void> {
    const end = offset + length
    if (length <= partMax) {
      if (length > 0) await send(offset, length)
      return
    }
    const parts: Promise<unknown>[] = []
    for (let at = offset; at < end; at += partMax) parts.push(send(at, Math.min(partMax, end - at)))
    const outcomes = await Promise.allSettled(parts)
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
  }

  #need(command: number, flag: number): void {
    if (this.has(flag)) return
    throw new NbdError(`${commandName(command)}: the server does not offer it`, NBD_ENOTSUP)
  }

  #fuaFlag({ fua }: WriteOptions): number {
    if (!fua) return 0
    if (this.has(NBD_FLAG_SEND_FUA)) return NBD_CMD_FLAG_FUA
    throw new NbdError('FUA: the server does not offer it', NBD_ENOTSUP)
  }
}

function alignDown(length: number, { minimum }: { minimum: number }): number {
  return length - (length % minimum)
}

/** Adds an extent, or makes the last one longer if it has the same status. */
function append(extents: BlockStatusExtent[], length: number, flags: number): void {
  const hole = (flags & NBD_STATE_HOLE) !== 0
  const zero = (flags & NBD_STATE_ZERO) !== 0
  const last = extents.at(-1)
  if (last && last.hole === hole && last.zero === zero) {
    extents[extents.length - 1] = { length: last.length + length, hole, zero }
  } else {
    extents.push({ length, hole, zero })
  }
}
