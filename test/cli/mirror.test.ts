/**
 * The commands that talk to a proxy, against a real control socket with a scripted mirror behind
 * it.
 */
import { resolve } from 'node:path'
import { expect, test } from 'vitest'
import { EXIT } from '../../src/cli/exit-codes.ts'
import { ControlError } from '../../src/control/control-error.ts'
import type { MirrorStatus } from '../../src/control/status.ts'
import { mirrorSample, sampleHandlers, serveSample } from '../control/samples.ts'
import { blkferry, withProxy } from './support.ts'

/** A mirror-status handler that goes through `changes` and stays at the last. */
function stages(...changes: Partial<MirrorStatus>[]) {
  let asked = 0
  return () => {
    const change = changes[Math.min(asked, changes.length - 1)]
    asked += 1
    return { ...mirrorSample, ...change }
  }
}

const ready = { state: 'ready' } as const
const lost = { state: 'concluded', outcome: 'failed', error: 'target is full' } as const
const cancelled = { state: 'concluded', outcome: 'cancelled' } as const
const completed = { state: 'concluded', outcome: 'completed' } as const

test('status prints what it was told, for people and as JSON', async () => {
  await withProxy(sampleHandlers(), async path => {
    const text = await blkferry(['status', '--control', path])
    expect(text).toMatchObject({ exitCode: EXIT.ok, stderr: '' })
    for (const part of ['/dev/vg/guest', '8 TiB', 'O_DIRECT', 'uring', '2 writes', 'none']) {
      expect(text.stdout).toContain(part)
    }
    const json = await blkferry(['status', '--control', path, '--json'])
    expect(JSON.parse(json.stdout)).toEqual(serveSample)
  })
})

test('mirror start sends its defaults, and paths made absolute', async () => {
  const seen: unknown[] = []
  const startMirror = (params: unknown) => {
    seen.push(params)
    return mirrorSample
  }
  await withProxy(sampleHandlers({ 'mirror-start': startMirror }), async path => {
    const words = ['mirror', 'start', '--control', path, '--target', 'nbd://dest/guest']
    expect((await blkferry(words)).exitCode).toBe(EXIT.ok)
    const all = ['--copy-mode', 'background', '--bandwidth', '8Mbit', '--granularity', '4K']
    const more = ['--stall-ms', '20', '--reconnect-seconds', '0', '--tls-psk', 'keys']
    expect((await blkferry([...words, ...all, ...more])).exitCode).toBe(EXIT.ok)
  })
  const target = 'nbd://dest/guest'
  expect(seen).toEqual([
    {
      target,
      copyMode: 'auto',
      bandwidth: 0,
      granularity: 65536,
      stallMs: 100,
      reconnectSeconds: 300,
    },
    {
      target,
      copyMode: 'background',
      bandwidth: 1_000_000,
      granularity: 4096,
      stallMs: 20,
      reconnectSeconds: 0,
      tlsPskFile: resolve('keys'),
    },
  ])
})

test('mirror set sends only what was given', async () => {
  const seen: unknown[] = []
  const set = (params: unknown) => {
    seen.push(params)
    return mirrorSample
  }
  await withProxy(sampleHandlers({ 'mirror-set': set }), async path => {
    await blkferry(['mirror', 'set', '--control', path, '--bandwidth', '50M'])
    await blkferry(['mirror', 'set', '--control', path, '--copy-mode', 'auto', '--stall-ms', '5'])
  })
  expect(seen).toEqual([{ bandwidth: 50 * 2 ** 20 }, { copyMode: 'auto', stallMs: 5 }])
})

test('mirror complete says how, and prints how it ended', async () => {
  const seen: unknown[] = []
  const complete = (params: unknown) => {
    seen.push(params)
    return { ...mirrorSample, ...completed }
  }
  await withProxy(sampleHandlers({ 'mirror-complete': complete }), async path => {
    const words = ['mirror', 'complete', '--control', path]
    expect((await blkferry(words)).stdout).toMatch(/^completed, 4 TiB copied/)
    await blkferry([...words, '--verify', '--resume', '--timeout', '1.5'])
  })
  expect(seen).toEqual([
    { verify: false, resume: false, timeoutMs: 60_000 },
    { verify: true, resume: true, timeoutMs: 1500 },
  ])
})

test.each([
  ['verify-difference', EXIT.difference],
  ['mirror-failed', EXIT.mirror],
  ['target-unreachable', EXIT.target],
  ['timeout', EXIT.timeout],
  ['wrong-state', EXIT.failed],
] as const)('mirror complete that is refused as %s exits with %d', async (code, exitCode) => {
  const complete = () => {
    throw ControlError.refuse(code, 'the disks differ at offset 4096')
  }
  await withProxy(sampleHandlers({ 'mirror-complete': complete }), async path => {
    const words = ['mirror', 'complete', '--control', path]
    expect(await blkferry(words)).toEqual({
      exitCode,
      stdout: '',
      stderr: 'blkferry: the disks differ at offset 4096\n',
    })
    const { stdout, stderr } = await blkferry([...words, '--json'])
    expect(JSON.parse(stdout).error).toMatchObject({ exitCode, message: expect.any(String) })
    expect(stderr).toBe('')
  })
})

test('mirror wait shows progress and ends when ready', async () => {
  const handler = stages({ pass: 1 }, { pass: 2 }, ready)
  await withProxy(sampleHandlers({ 'mirror-status': handler }), async path => {
    const caught = await blkferry(['mirror', 'wait', '--control', path])
    expect(caught).toMatchObject({ exitCode: EXIT.ok, stderr: '' })
    expect(caught.stdout.split('\n').map(line => line.split(',')[0])).toEqual([
      'pass 1',
      'ready',
      '',
    ])
  })
})

test('mirror wait redraws on a terminal, and prints a document an update as JSON', async () => {
  const handlers = () =>
    sampleHandlers({ 'mirror-status': stages({ pass: 1 }, { pass: 2 }, ready) })
  await withProxy(handlers(), async path => {
    const { stdout } = await blkferry(['mirror', 'wait', '--control', path], { isTTY: true })
    const drawn = stdout.replaceAll('\u001b[K', '<clear>')
    expect(drawn).toMatch(/^\rpass 1.*<clear>\rpass 2.*<clear>\nready.*\n$/)
  })
  await withProxy(handlers(), async path => {
    const { stdout } = await blkferry(['mirror', 'wait', '--control', path, '--json'])
    const states = stdout
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line).state)
    expect(states.at(0)).toBe('running')
    expect(states.at(-1)).toBe('ready')
  })
})

test.each([
  [lost, 'the mirror failed: target is full'],
  [cancelled, 'the mirror was cancelled'],
])('mirror wait for a mirror that ends as %j exits with 5', async (end, sentence) => {
  await withProxy(sampleHandlers({ 'mirror-status': stages(end) }), async path => {
    const { exitCode, stderr } = await blkferry(['mirror', 'wait', '--control', path])
    expect(exitCode).toBe(EXIT.mirror)
    expect(stderr).toContain(sentence)
  })
})

test('mirror wait gives up in time and says that the mirror goes on', async () => {
  await withProxy(sampleHandlers(), async path => {
    const words = ['mirror', 'wait', '--control', path, '--timeout', '0.05']
    const { exitCode, stderr } = await blkferry(words)
    expect(exitCode).toBe(EXIT.timeout)
    expect(stderr).toBe(
      'blkferry: the mirror is still running after 50 ms: it goes on, wait again or cancel it\n',
    )
  })
})

test('mirror status --watch ends with the mirror, whatever its outcome', async () => {
  await withProxy(sampleHandlers({ 'mirror-status': stages({}, cancelled) }), async path => {
    const { exitCode, stdout } = await blkferry(['mirror', 'status', '--control', path, '--watch'])
    expect(exitCode).toBe(EXIT.ok)
    expect(stdout).toMatch(/^pass 2.*\ncancelled.*\n$/)
  })
})

test.each(['status', 'cancel', 'resume'])('mirror %s prints the status it was told', async verb => {
  await withProxy(sampleHandlers(), async path => {
    const words = ['mirror', verb, '--control', path, '--json']
    expect(JSON.parse((await blkferry(words)).stdout)).toEqual(mirrorSample)
  })
})

test('a control socket that is not there exits with 7', async () => {
  const { exitCode, stderr } = await blkferry(['status', '--control', '/nonexistent/sock'])
  expect(exitCode).toBe(EXIT.control)
  expect(stderr).toMatch(/^blkferry: there is no control socket \/nonexistent\/sock: start /)
})
