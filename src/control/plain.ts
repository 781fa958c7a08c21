/**
 * Looks over a msgpack document before it is decoded, without decoding it. Only plain values may
 * pass: nil, booleans, numbers, text, arrays and maps with text keys. Extension types would make
 * the decoder build records, dates or classes, and a lying length could make it allocate; neither
 * reaches it. The bytes are the caller's and are only read.
 */
import { ControlError } from './control-error.ts'

/** Maps and arrays within each other. */
export const NESTING_MAX = 8
/** Values in one document, keys included. */
export const VALUES_MAX = 4096

/** Throws `ControlError` malformed unless `bytes` are exactly one plain document. */
export function assertPlain(bytes: Buffer): void {
  const end = new Walk(bytes).value(0, 0)
  if (end !== bytes.length) throw malformed(`${bytes.length - end} bytes after the document`)
}

class Walk {
  readonly #bytes: Buffer
  #values = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  /** The offset behind the value that starts at `offset`. */
  value(offset: number, depth: number): number {
    const type = this.#uint(offset, 1)
    const next = offset + 1
    this.#values += 1
    if (this.#values > VALUES_MAX) throw malformed(`more than ${VALUES_MAX} values`)
    if (type <= 0x7f || type >= 0xe0) return next
    if (type <= 0x8f) return this.#items(next, type & 0x0f, depth, true)
    if (type <= 0x9f) return this.#items(next, type & 0x0f, depth, false)
    if (type <= 0xbf) return this.#skip(next, type & 0x1f)
    switch (type) {
      case 0xc0:
      case 0xc2:
      case 0xc3:
        return next
      case 0xca:
        return this.#skip(next, 4)
      case 0xcb:
        return this.#skip(next, 8)
      case 0xcc:
      case 0xcd:
      case 0xce:
      case 0xcf:
        return this.#skip(next, 2 ** (type - 0xcc))
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3:
        return this.#skip(next, 2 ** (type - 0xd0))
      case 0xd9:
      case 0xda:
      case 0xdb: {
        const width = 2 ** (type - 0xd9)
        return this.#skip(next + width, this.#uint(next, width))
      }
      case 0xdc:
      case 0xdd: {
        const width = type === 0xdc ? 2 : 4
        return this.#items(next + width, this.#uint(next, width), depth, false)
      }
      case 0xde:
      case 0xdf: {
        const width = type === 0xde ? 2 : 4
        return this.#items(next + width, this.#uint(next, width), depth, true)
      }
      default:
        throw malformed(`type 0x${type.toString(16)} at byte ${offset} is not a plain value`)
    }
  }

  /** `count` values, each after a text key where `hasKeys`. A lying count runs into the end. */
  #items(offset: number, count: number, depth: number, hasKeys: boolean): number {
    if (depth >= NESTING_MAX) throw malformed(`nested deeper than ${NESTING_MAX}`)
    let at = offset
    for (let index = 0; index < count; index += 1) {
      if (hasKeys) {
        const type = this.#uint(at, 1)
        const isText = (type >= 0xa0 && type <= 0xbf) || (type >= 0xd9 && type <= 0xdb)
        if (!isText) throw malformed(`a map key at byte ${at} is not text`)
        at = this.value(at, depth + 1)
      }
      at = this.value(at, depth + 1)
    }
    return at
  }

  #uint(offset: number, width: number): number {
    this.#skip(offset, width)
    return this.#bytes.readUIntBE(offset, width)
  }

  #skip(offset: number, length: number): number {
    const end = offset + length
    if (end > this.#bytes.length) throw malformed(`cut short at byte ${this.#bytes.length}`)
    return end
  }
}

function malformed(what: string): ControlError {
  return new ControlError('malformed', `control message is not acceptable: ${what}`)
}
