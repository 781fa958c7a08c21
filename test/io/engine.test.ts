/**
 * Both engines against the suite; uring also with rings so small that everything queues and wraps.
 */

import { describe } from 'vitest'
import { LibuvEngine } from '../../src/io/libuv.ts'
import { UringEngine, whyNoUring } from '../../src/io/uring.ts'
import { describeEngine } from './conformance.ts'

const why = whyNoUring()

// A wait in the kernel has to end for a reason, not because it reached its limit.
const blockMsMax = 60_000

describeEngine('libuv', () => new LibuvEngine())

if (why === undefined) {
  describeEngine('uring', () => new UringEngine({ blockMsMax }))
  describeEngine(
    'uring, 8 entries',
    () => new UringEngine({ entries: 8, completions: 8, blockMsMax }),
  )
} else {
  describe.skip(`uring (skipped: ${why})`, () => {})
}
