/**
 * Sends the pieces of a remote device: headers from a table of its own, one place per piece, data
 * from where the request has it. One send at a time; everything added before `send` leaves with it.
 * Owns the headers; a piece is borrowed until `sent`.
 */
import { NBD_CMD_DISC, NBD_CMD_WRITE, putRequest, REQUEST_SIZE } from 'nbd-client-ts'
import type { Engine, EngineSocket, Gather, Operation } from '../io/engine.ts'
import type { Memory } from '../io/memory.ts'
import { mapAnonymous, unmap } from '../io/mmap.ts'
import type { Piece } from './remote-piece.ts'

/** Distance of two headers in the table (bytes). */
const STRIDE = 32
/** A write has two entries, header and data. */
const ENTRIES_PER_PIECE = 2

export interface SenderOwner {
  /** The engine is done with the piece's header and data. Called before `sendEnded`. */
  sent(piece: Piece): void
  /** The send is over, with 0 or a positive errno; after an error nothing was `sent`. */
  sendEnded(errno: number): void
}

export class RemoteSender implements Operation {
  readonly #socket: EngineSocket
  readonly #owner: SenderOwner
  readonly #headers: Memory
  readonly #view: DataView
  readonly #gather: Gather
  readonly #batch: Piece[] = []
  /** Place of the header of NBD_CMD_DISC, behind those of the pieces. */
  readonly #disconnectAt: number
  #isSending = false

  constructor(engine: Engine, socket: EngineSocket, owner: SenderOwner, piecesMax: number) {
    this.#socket = socket
    this.#owner = owner
    this.#disconnectAt = piecesMax * STRIDE
    this.#headers = mapAnonymous((piecesMax + 1) * STRIDE)
    const { buffer, byteOffset, length } = this.#headers.bytes
    this.#view = new DataView(buffer, byteOffset, length)
    this.#gather = engine.createGather(piecesMax * ENTRIES_PER_PIECE)
  }

  get isSending(): boolean {
    return this.#isSending
  }

  get hasPending(): boolean {
    return this.#batch.length > 0
  }

  /** Puts a piece into the next send; not while one is under way. */
  add(piece: Piece): void {
    const { index, generation, offset, length, request } = piece
    const { command, flags } = request
    if (this.#batch.length === 0) this.#gather.clear()
    putRequest(this.#view, index * STRIDE, flags, command, generation, index, offset, length)
    this.#gather.push(this.#headers, index * STRIDE, REQUEST_SIZE)
    if (command === NBD_CMD_WRITE) {
      this.#gather.push(request.memory!, piece.memoryAt(offset), length)
    }
    this.#batch.push(piece)
  }

  send(): void {
    this.#isSending = true
    this.#socket.send(this.#gather, this)
  }

  /** Says good-bye; nothing may be pending. */
  sendDisconnect(): void {
    this.#gather.clear()
    putRequest(this.#view, this.#disconnectAt, 0, NBD_CMD_DISC, 0, 0, 0, 0)
    this.#gather.push(this.#headers, this.#disconnectAt, REQUEST_SIZE)
    this.send()
  }

  settle(result: number): void {
    this.#isSending = false
    if (result >= 0) {
      // Completions may submit, but nothing is added before the end of the turn.
      for (let i = 0; i < this.#batch.length; i++) this.#owner.sent(this.#batch[i]!)
    }
    this.#batch.length = 0
    this.#owner.sendEnded(result < 0 ? -result : 0)
  }

  /** Unmaps the headers; nothing may be under way. */
  release(): void {
    unmap(this.#headers)
  }
}
