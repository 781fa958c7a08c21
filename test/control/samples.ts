/**
 * A status of each kind with every field filled in, for the tests of the protocol and of what the
 * command line makes of it.
 */
import type { ControlHandlers } from '../../src/control/server-connection.ts'
import type { MirrorStatus, ServeStatus } from '../../src/control/status.ts'

export const mirrorSample: MirrorStatus = {
  state: 'running',
  outcome: null,
  error: null,
  copyMode: 'background',
  copyModeChoice: 'auto',
  activelySynced: false,
  size: 8 * 2 ** 40,
  granularity: 65536,
  dirtyBytes: 3 * 2 ** 40,
  copiedBytes: 4 * 2 ** 40,
  zeroedBytes: 2 ** 30,
  skippedBytes: 2 ** 20,
  forwardedBytes: 4096,
  pass: 2,
  rateBytesPerSecond: 104857600.5,
  dirtyRateBytesPerSecond: 1048576,
  etaSeconds: 75.5,
  bandwidth: 0,
  stallMs: 100,
  stalls: 1,
  reconnects: 2,
  targetErrors: 3,
  elapsedMs: 61234.5,
  heldMs: 0,
}

export const serveSample: ServeStatus = {
  version: '0.1.0',
  export: 'root',
  path: '/dev/vg/guest',
  size: 8 * 2 ** 40,
  readOnly: false,
  engine: 'uring',
  direct: true,
  clients: 1,
  uptimeMs: 1234.5,
  pid: 4321,
  requests: {
    reads: 1,
    writes: 2,
    flushes: 3,
    trims: 4,
    writeZeroes: 5,
    otherRequests: 6,
    errors: 7,
    readBytes: 2 ** 40,
    writtenBytes: 2 ** 41,
    trimmedBytes: 0,
    zeroedBytes: 8192,
  },
  mirror: null,
}

/** Handlers that answer every verb with the samples; give some verbs others. */
export function sampleHandlers(replaced: Partial<ControlHandlers> = {}): ControlHandlers {
  const mirror = () => mirrorSample
  return {
    status: () => serveSample,
    'mirror-start': mirror,
    'mirror-status': mirror,
    'mirror-set': mirror,
    'mirror-cancel': mirror,
    'mirror-complete': mirror,
    'mirror-resume': mirror,
    ...replaced,
  }
}
