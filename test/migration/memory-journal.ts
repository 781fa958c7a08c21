/**
 * A journal's storage in memory that can crash: every write lands in full, in part or not at all,
 * and the next one who reads sees what is left.
 */
import type { JournalStorage } from '../../src/migration/journal.ts'
import { JournalError } from '../../src/migration/journal-error.ts'

export type Fault = 'lost' | 'torn' | 'landed' | 'full'

export class MemoryStorage implements JournalStorage {
  bytes: Uint8Array | undefined
  /** What becomes of the next write, which then throws. */
  fault: Fault | undefined
  writes = 0
  replacements = 0

  constructor(bytes?: Uint8Array) {
    this.bytes = bytes && Uint8Array.from(bytes)
  }

  read(): Uint8Array | undefined {
    return this.bytes && Uint8Array.from(this.bytes)
  }

  write(offset: number, bytes: Uint8Array): void {
    if (this.bytes === undefined || offset + bytes.byteLength > this.bytes.byteLength) {
      throw new Error('a record goes beyond the file: its space was not there before')
    }
    this.writes++
    // A full disk takes what overwrites.
    const fault = this.fault === 'full' ? undefined : this.#takeFault()
    if (fault === 'torn') this.bytes.set(bytes.subarray(0, 40), offset)
    else if (fault !== 'lost') this.bytes.set(bytes, offset)
    if (fault !== undefined) throw new Error('EIO')
  }

  replace(bytes: Uint8Array): void {
    this.replacements++
    const fault = this.#takeFault()
    if (fault === 'full') throw new JournalError('full', 'ENOSPC')
    if (fault !== 'lost' && fault !== 'torn') this.bytes = Uint8Array.from(bytes)
    if (fault !== undefined) throw new Error('EIO')
  }

  #takeFault(): Fault | undefined {
    const { fault } = this
    this.fault = undefined
    return fault
  }

  close(): void {}
}
