/**
 * The bookkeeping of the remote device. A piece is one request on the wire, a work is one request
 * of ours, which takes several pieces when it is longer than the server allows. Both are pooled; a
 * piece's place in the pool is its cookie.
 */
import type { Coverage } from 'nbd-client-ts'
import type { Request } from './request.ts'

export class Work {
  request: Request | undefined
  /** Bytes handed out in pieces. */
  issued = 0
  /** Nothing more is to be handed out. */
  isIssued = false
  /** Pieces under way. */
  pieces = 0
  /** The first errno of a piece. */
  error = 0

  start(request: Request): void {
    this.request = request
    this.issued = 0
    this.isIssued = false
    this.pieces = 0
    this.error = 0
  }
}

export class Piece {
  readonly index: number
  /** Tells one use of this piece from the next, so that a stale or made-up cookie is noticed. */
  generation = 0
  work: Work | undefined
  offset = 0
  length = 0
  /** When it was sent (ms of the clock). */
  startedAt = 0
  /** The engine is done with its header and data. It ends when it is both sent and answered. */
  isSent = false
  isAnswered = false
  error = 0
  /** A structured chunk has come, after which a simple reply must not. */
  isStructured = false
  /**
   * Bytes from the start that have been answered without a gap; all there is to know of servers
   * that answer in order.
   */
  covered = 0
  /** Made for a server that answers a read out of order. */
  coverage: Coverage | undefined
  /** A block status chunk has come. */
  hasExtents = false
  /** The extents that still come are left out. */
  isCut = false
  /** Error chunks so far. */
  errors = 0

  constructor(index: number) {
    this.index = index
  }

  start(work: Work, offset: number, length: number, now: number): void {
    this.generation = (this.generation + 1) >>> 0
    this.work = work
    this.offset = offset
    this.length = length
    this.startedAt = now
    this.isSent = false
    this.isAnswered = false
    this.error = 0
    this.isStructured = false
    this.covered = 0
    this.coverage = undefined
    this.hasExtents = false
    this.isCut = false
    this.errors = 0
  }

  get request(): Request {
    return this.work!.request!
  }

  /** Where in the request's memory the byte at `offset` of the device goes. */
  memoryAt(offset: number): number {
    return this.request.memoryOffset + offset - this.request.offset
  }
}

/** A fixed number of pieces; a piece is taken as long as it has a work. */
export class PiecePool {
  readonly #pieces: readonly Piece[]
  readonly #free: Piece[]

  constructor(count: number) {
    this.#pieces = Array.from({ length: count }, (_, index) => new Piece(index))
    this.#free = this.#pieces.toReversed()
  }

  /** Pieces taken. */
  get count(): number {
    return this.#pieces.length - this.#free.length
  }

  get hasFree(): boolean {
    return this.#free.length > 0
  }

  take(work: Work, offset: number, length: number, now: number): Piece {
    const piece = this.#free.pop()!
    piece.start(work, offset, length, now)
    return piece
  }

  release(piece: Piece): void {
    piece.work = undefined
    piece.coverage = undefined
    this.#free.push(piece)
  }

  /** The piece at a place, if it is taken. */
  get(index: number): Piece | undefined {
    const piece = this.#pieces[index]
    return piece?.work === undefined ? undefined : piece
  }

  all(): readonly Piece[] {
    return this.#pieces
  }

  /** When the oldest of those taken was sent; infinity if none is (ms of the clock). */
  oldestStart(): number {
    let oldest = Number.POSITIVE_INFINITY
    for (const piece of this.#pieces) {
      if (piece.work !== undefined && piece.startedAt < oldest) oldest = piece.startedAt
    }
    return oldest
  }
}

/** Works grow to what is under way at once, which the pieces bound. */
export class WorkPool {
  readonly #free: Work[] = []

  take(request: Request): Work {
    const work = this.#free.pop() ?? new Work()
    work.start(request)
    return work
  }

  release(work: Work): void {
    work.request = undefined
    this.#free.push(work)
  }
}
