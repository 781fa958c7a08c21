/**
 * A block whose whole content follows from two numbers: which block it is and the sequence number
 * of the write. So a read back proves at once that the block is in its place, whole, and from which
 * write.
 */

export const BLOCK_SIZE = 4096

const MAGIC = 0x626c6b66
const HEADER_WORDS = 4

/** Fills `block` (BLOCK_SIZE bytes) as the write `sequence` of block `index` does. */
export function fillBlock(block: Uint8Array, index: number, sequence: number): void {
  const words = new Uint32Array(block.buffer, block.byteOffset, BLOCK_SIZE / 4)
  words[0] = MAGIC
  words[1] = index
  words[2] = sequence
  const high = Math.floor(sequence / 2 ** 32)
  words[3] = high
  const mixed = Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(sequence + 1, 0x85ebca6b)
  let state = (mixed ^ Math.imul(high, 0xc2b2ae35)) | 1
  for (let i = HEADER_WORDS; i < words.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = state
  }
}

/**
 * The sequence number of the write that `block` is from; undefined if it is not wholly one write of
 * block `index`.
 */
export function sequenceOf(block: Uint8Array, index: number): number | undefined {
  const view = new DataView(block.buffer, block.byteOffset, BLOCK_SIZE)
  const sequence = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32
  const expected = new Uint8Array(BLOCK_SIZE)
  fillBlock(expected, index, sequence)
  return Buffer.compare(expected, block) === 0 ? sequence : undefined
}
