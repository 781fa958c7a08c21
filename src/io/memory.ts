/**
 * Memory that the kernel may read and write while JavaScript holds it: a view and the address of
 * its first byte. Whoever made it unmaps it; everybody else borrows it for the time of one
 * operation and must not keep the view beyond that.
 */
export interface Memory {
  /** The bytes as JavaScript sees them. */
  readonly bytes: Uint8Array
  /** Virtual address of `bytes[0]`; 0 for memory that no engine will ever see (simulations). */
  readonly address: number
}

/** Size of a page, and the alignment that O_DIRECT accepts on every device (bytes). */
export const PAGE_SIZE = 4096
