/** What the one line about a session says, in each phase and in trouble. */
import { expect, test } from 'vitest'
import { sessionLine, summaryText } from '../../src/cli/session-progress.ts'
import type { SessionStatus } from '../../src/daemon/session-status.ts'
import { sessionSample } from './daemon-support.ts'

const GIB = 1024 ** 3
const [disk] = sessionSample().disks
const second = { ...disk!, vdev: 'xvdb', disk: 'web1-data', etaSeconds: 90, replacements: 2 }
const idle = { state: 'waiting', sentBytes: 0, elapsedMs: 0 } as const

test.each<readonly [string, Partial<SessionStatus>]>([
  ['getting ready, here and on host2', { phase: 'setup' }],
  ['copying, 75% of 8 GiB, dirty 2 GiB, 512 MiB/s, ETA 4.0 s', { phase: 'active' }],
  [
    'copying, 75% of 16 GiB in 2 disks, dirty 4 GiB, 1 GiB/s, ETA 1:30, proxy replaced 2 times',
    { disks: [disk!, second] },
  ],
  [
    'copying, 75% of 8 GiB, dirty 2 GiB, 512 MiB/s, dirtied 3 MiB/s, ETA unknown',
    { disks: [{ ...disk!, dirtyRateBytesPerSecond: 3 * 1024 ** 2, etaSeconds: null }] },
  ],
  [
    'waiting for the other host, 75% of 8 GiB, dirty 2 GiB, connection refused',
    { disks: [{ ...disk!, state: 'reconnecting', error: 'connection refused' }] },
  ],
  ['memory comes next, disks dirty 2 GiB', { phase: 'ready', memory: idle }],
  [
    'memory 1 GiB in 9.0 s, disks dirty 2 GiB',
    { phase: 'ready', memory: { state: 'moving', sentBytes: GIB, elapsedMs: 9000 } },
  ],
  [
    'suspended, handing the disks over, memory 1 GiB',
    { phase: 'switchover', memory: { state: 'suspended', sentBytes: GIB, elapsedMs: 9000 } },
  ],
  [
    'starting on host2, memory 1 GiB',
    { phase: 'switchover', memory: { state: 'starting', sentBytes: GIB, elapsedMs: 9000 } },
  ],
  ['runs on host2', { phase: 'completed' }],
  ['runs here', { phase: 'completed', side: 'destination' }],
  [
    'cancelling, putting things back',
    { phase: 'cancelling', isCleaningUp: true, error: 'cancelled' },
  ],
  ['failed, no route to host', { phase: 'failed', error: 'no route to host' }],
])('%s', (line, changes) => {
  expect(sessionLine(sessionSample(changes))).toBe(`web1: ${line}`)
})

test('a summary without figures says that they are unknown, and names each disk to release', () => {
  const text = summaryText(sessionSample({ phase: 'completed', disks: [disk!, second] }))
  expect(text).toContain('downtime: unknown\n')
  expect(text).toContain('2 disks of 16 GiB')
  expect(text).toContain(
    'the old copies on this host, until blkferry release web1-root, blkferry release web1-data',
  )
})
