/**
 * Encrypts what a gather lists as full records, whatever the lengths of its entries: whole records
 * straight from where the bytes are, the rest by way of a buffer, together with what comes next. A
 * request's header costs no record of its own then, which at the other end is a trip of its own.
 */
import { IovecGather } from '../io/gather.ts'
import { copyMemory } from '../io/libc.ts'
import { mapAnonymous, unmap } from '../io/mmap.ts'
import { TLS_RECORD_MAX, type TlsConnection } from './tls-connection.ts'

export class RecordPacker {
  readonly #tls: TlsConnection
  readonly #buffer = mapAnonymous(TLS_RECORD_MAX)
  #buffered = 0
  #gather = new IovecGather(1)
  #entry = 0
  #entryAt = 0

  constructor(tls: TlsConnection) {
    this.#tls = tls
  }

  /** Begins with a gather, which is borrowed until all of it is packed. */
  start(gather: IovecGather): void {
    this.#gather = gather
    this.#entry = 0
    this.#entryAt = 0
  }

  /** Whether all of it is encrypted. */
  get isDone(): boolean {
    return this.#entry === this.#gather.count && this.#buffered === 0
  }

  /** Encrypts as much as there is room for; false if the connection is broken. */
  pack(): boolean {
    let records = this.#tls.recordsRoom
    while (records > 0 && !this.isDone) {
      const count = this.#packNext(records)
      if (count < 0) return false
      records -= count
    }
    return true
  }

  /** Unmaps the buffer. */
  release(): void {
    unmap(this.#buffer)
  }

  /** Returns how many records it took, 0 if the bytes wait for others; -1 if it is not possible. */
  #packNext(recordsMax: number): number {
    if (this.#entry === this.#gather.count) return this.#packBuffer()
    const address = this.#gather.addressAt(this.#entry) + this.#entryAt
    const rest = this.#gather.lengthAt(this.#entry) - this.#entryAt
    const whole = Math.min(Math.floor(rest / TLS_RECORD_MAX), recordsMax)
    if (this.#buffered === 0 && whole > 0) {
      this.#advance(whole * TLS_RECORD_MAX)
      return this.#tls.write(address, whole * TLS_RECORD_MAX) ? whole : -1
    }
    const length = Math.min(rest, TLS_RECORD_MAX - this.#buffered)
    copyMemory(this.#buffer.address + this.#buffered, address, length)
    this.#buffered += length
    this.#advance(length)
    return this.#buffered === TLS_RECORD_MAX ? this.#packBuffer() : 0
  }

  #packBuffer(): number {
    const length = this.#buffered
    this.#buffered = 0
    return this.#tls.write(this.#buffer.address, length) ? 1 : -1
  }

  #advance(length: number): void {
    this.#entryAt += length
    if (this.#entryAt < this.#gather.lengthAt(this.#entry)) return
    this.#entry++
    this.#entryAt = 0
  }
}
