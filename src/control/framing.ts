/**
 * Frames on the control socket: a u32 big-endian length, then one msgpack document of that many
 * bytes. Knows no socket: the decoder is fed whatever arrived, however it was cut, and returns the
 * documents that became whole. It holds at most one frame; after an error it must not be fed again.
 */
import { Packr } from 'msgpackr'
import { ControlError } from './control-error.ts'
import { assertPlain } from './plain.ts'

/** Bytes of a document. The largest real one, a status, has about 1 KiB; texts are bounded. */
export const FRAME_BYTES_MAX = 64 * 1024

const HEADER_BYTES = 4

// Plain msgpack that any version and any other implementation reads: no records or shared
// structures, no extension types of the library's own; integers are numbers, large ones travel as
// doubles.
const packr = new Packr({
  useRecords: false,
  mapsAsObjects: true,
  variableMapSize: true,
  moreTypes: false,
  bundleStrings: false,
  encodeUndefinedAsNil: true,
  int64AsType: 'number',
})

/** One frame, in memory of its own. `message` holds plain values only. */
export function encodeFrame(message: object): Buffer {
  const document = packr.pack(message)
  if (document.length > FRAME_BYTES_MAX) {
    throw tooLong(document.length)
  }
  const frame = Buffer.allocUnsafe(HEADER_BYTES + document.length)
  frame.writeUInt32BE(document.length, 0)
  document.copy(frame, HEADER_BYTES)
  return frame
}

export class FrameDecoder {
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #headerBytes = 0
  #document: Buffer | undefined
  #documentBytes = 0

  /** A frame has begun and is not whole yet. */
  get isInsideFrame(): boolean {
    return this.#headerBytes > 0
  }

  /** The messages that `chunk` completes, in order; `chunk` is not kept. Throws malformed. */
  feed(chunk: Buffer): unknown[] {
    const messages: unknown[] = []
    let offset = 0
    while (offset < chunk.length) {
      if (this.#document === undefined) {
        offset += this.#takeHeader(chunk, offset)
        continue
      }
      const taken = chunk.copy(this.#document, this.#documentBytes, offset)
      this.#documentBytes += taken
      offset += taken
      if (this.#documentBytes < this.#document.length) continue
      messages.push(decodeDocument(this.#document))
      this.#document = undefined
      this.#headerBytes = 0
    }
    return messages
  }

  #takeHeader(chunk: Buffer, offset: number): number {
    const taken = chunk.copy(this.#header, this.#headerBytes, offset)
    this.#headerBytes += taken
    if (this.#headerBytes === HEADER_BYTES) {
      const length = this.#header.readUInt32BE(0)
      if (length > FRAME_BYTES_MAX) throw tooLong(length)
      if (length === 0) throw new ControlError('malformed', 'control frame is empty')
      this.#document = Buffer.allocUnsafe(length)
      this.#documentBytes = 0
    }
    return taken
  }
}

function decodeDocument(document: Buffer): unknown {
  assertPlain(document)
  try {
    return packr.unpack(document)
  } catch (error) {
    throw new ControlError('malformed', 'control message is not msgpack', { cause: error })
  }
}

function tooLong(length: number): ControlError {
  return new ControlError(
    'malformed',
    `control frame of ${length} bytes is over the limit of ${FRAME_BYTES_MAX}`,
  )
}
