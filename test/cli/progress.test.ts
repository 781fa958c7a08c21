/** The progress line, and how output draws it on a terminal and elsewhere. */
import { expect, test } from 'vitest'
import { progressLine } from '../../src/cli/progress.ts'
import { MIRROR_STATES } from '../../src/control/status.ts'
import { mirrorSample } from '../control/samples.ts'
import { CaughtContext } from './support.ts'

const calm = { ...mirrorSample, stalls: 0, reconnects: 0, targetErrors: 0 }

test.each([
  [
    'running',
    {},
    'pass 2, 62% of 8 TiB, dirty 3 TiB, 100 MiB/s, dirtied 1 MiB/s, ETA 1:16, background',
  ],
  [
    'running with a limit, nobody writing, no ETA',
    { bandwidth: 2 ** 20, dirtyRateBytesPerSecond: 0, etaSeconds: null },
    'pass 2, 62% of 8 TiB, dirty 3 TiB, 100 MiB/s (limit 1 MiB/s), ETA unknown, background',
  ],
  [
    'ready',
    { state: 'ready', dirtyBytes: 65536, dirtyRateBytesPerSecond: 0 },
    'ready, dirty 64 KiB, background',
  ],
  [
    'ready and synced, after trouble',
    {
      state: 'ready',
      activelySynced: true,
      dirtyBytes: 0,
      copyMode: 'write-blocking',
      stalls: 2,
      reconnects: 1,
    },
    'ready, actively synced, dirty 0 B, dirtied 1 MiB/s, write-blocking, 2 stalls, 1 reconnect',
  ],
  [
    'waiting',
    { state: 'waiting', error: 'connection refused', targetErrors: 1 },
    'waiting for the target: connection refused, dirty 3 TiB, 1 target error',
  ],
  [
    'switchover',
    { state: 'switchover', heldMs: 35 },
    'switchover, clients held for 35 ms, dirty 3 TiB',
  ],
  [
    'completed',
    { state: 'concluded', outcome: 'completed', heldMs: 35 },
    'completed, 4 TiB copied, 1 GiB zeroed, 1 MiB skipped, 4 KiB forwarded, 2 passes, in 1:01, ' +
      'clients held for 35 ms',
  ],
  [
    'failed',
    {
      state: 'concluded',
      outcome: 'failed',
      error: 'target is full',
      zeroedBytes: 0,
      skippedBytes: 0,
      forwardedBytes: 0,
      pass: 1,
    },
    'failed: target is full, 4 TiB copied, 1 pass, in 1:01',
  ],
] as const)('a mirror that is %s', (_name, change, line) => {
  expect(progressLine({ ...calm, ...change })).toBe(line)
})

test('100 % is said only when nothing is dirty, and odd numbers harm nothing', () => {
  expect(progressLine({ ...calm, dirtyBytes: 1 })).toContain('99% of')
  expect(progressLine({ ...calm, dirtyBytes: 0 })).toContain('100% of')
  expect(progressLine({ ...calm, dirtyBytes: calm.size + 1 })).toContain(', 0% of')
  expect(progressLine({ ...calm, size: 0, dirtyBytes: 0 })).toContain('100% of 0 B')
})

test('every state has a line without holes', () => {
  for (const state of MIRROR_STATES) {
    const line = progressLine({ ...calm, state })
    expect(line).not.toMatch(/undefined|null|NaN|, ,|, $/)
    expect(line).not.toContain('\n')
  }
})

test('on a terminal updates are drawn over each other, cut to its width', () => {
  const context = new CaughtContext({ isTTY: true, columns: 11 })
  context.output.update({}, 'a line that is too long')
  context.output.update({}, 'short')
  context.output.result({}, 'done')
  expect(context.stdout).toBe('\ra line tha\u001b[K\rshort\u001b[K\ndone\n')
})

test('a failure does not overwrite the line that was being redrawn', () => {
  const context = new CaughtContext({ isTTY: true })
  context.output.update({}, 'half')
  context.output.failure(1, 'it\n  broke')
  expect(context.stdout).toBe('\rhalf\u001b[K\n')
  expect(context.stderr).toBe('blkferry: it broke\n')
})

test('elsewhere updates are lines, and with --json documents', () => {
  const lines = new CaughtContext()
  lines.output.update({ pass: 1 }, 'pass 1')
  expect(lines.stdout).toBe('pass 1\n')
  const json = new CaughtContext({ isJson: true, isTTY: true })
  json.output.update({ pass: 1 }, 'pass 1')
  json.output.failure(8, 'too late')
  expect(json.stdout).toBe(
    '{"pass":1}\n{"error":{"exitCode":8,"kind":"timeout","message":"too late"}}\n',
  )
  expect(json.stderr).toBe('')
})
