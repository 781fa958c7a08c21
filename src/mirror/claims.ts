/**
 * Runs that an operation of the copier has taken out of the bitmap and not yet brought to the
 * target. They are recorded in the shared mapping before their bits are cleared and erased after
 * the outcome is recorded elsewhere, so that a process killed in between loses no bit: whoever
 * opens the mapping makes them dirty again.
 *
 * Two 32-bit stores make a record. The count is stored last and erased first: any prefix of the
 * stores is sound.
 */
import assert from 'node:assert/strict'

/** Bytes of one slot: first chunk and count. */
export const CLAIM_BYTES = 8

export class Claims {
  readonly slots: number
  readonly #words: Uint32Array

  constructor(storage: Uint8Array) {
    this.slots = Math.floor(storage.length / CLAIM_BYTES)
    this.#words = new Uint32Array(storage.buffer, storage.byteOffset, this.slots * 2)
  }

  /** Records the chunks from `first` to before `end` in a slot that is free. */
  record(slot: number, first: number, end: number): void {
    assert(slot < this.slots && this.#words[slot * 2 + 1] === 0, 'claims: slot is taken')
    this.#words[slot * 2] = first
    this.#words[slot * 2 + 1] = end - first
  }

  erase(slot: number): void {
    this.#words[slot * 2 + 1] = 0
  }

  /** Hands every recorded run to `run`, then erases it. */
  drain(run: (first: number, end: number) => void): void {
    for (let slot = 0; slot < this.slots; slot++) {
      const count = this.#words[slot * 2 + 1]!
      if (count === 0) continue
      const first = this.#words[slot * 2]!
      run(first, first + count)
      this.erase(slot)
    }
  }
}
