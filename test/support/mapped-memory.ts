/**
 * Page-aligned memory that an engine can use, mapped for each acquire: for tests, which have few.
 */

import type { MemorySource } from '../../src/block/facade.ts'
import { PAGE_SIZE } from '../../src/io/memory.ts'
import { mapAnonymous, unmap } from '../../src/io/mmap.ts'

export const MAPPED_MEMORY: MemorySource = {
  acquire: length => mapAnonymous(Math.max(PAGE_SIZE, length)),
  release: unmap,
}
