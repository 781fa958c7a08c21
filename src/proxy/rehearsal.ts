/**
 * What a process does for the first time takes it many times longer than later, and a guest waits
 * for a proxy that takes over. So one that stands by serves a scratch file to itself first, and
 * mirrors it: every module is loaded and every function on the way of a request has been compiled,
 * in both threads.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { NbdClient } from 'nbd-client-ts'
import { connectControl } from '../control/channel.ts'
import type { ControlClient } from '../control/client.ts'
import { rehearsalFolder } from '../control/socket-path.ts'
import { trimMemory } from '../io/libc-control.ts'
import { Cleanup } from './cleanup.ts'
import type { ProxyOptions } from './options.ts'
import { serveScratchTarget } from './scratch-target.ts'

const DISK_BYTES = 1024 * 1024
const REQUEST_BYTES = 4096
/** Enough for the engine's and the filters' functions to be known to be busy. */
const ROUNDS_MIN = 30
/** Enough for them to be compiled to the last, which a quick machine has the time for. */
const ROUNDS_MAX = 1000
const EXCHANGE_MS = 300
const ANSWER_MS_MAX = 60_000
const GRANULARITY = 64 * 1024
const READY_POLL_MS = 20
/** How often it is looked whether the mirror is ready. A guest may wait for us, so not for long. */
const READY_POLLS_MAX = 250

export type Serve = (options: ProxyOptions, cleanup: Cleanup) => Promise<unknown>

/**
 * `serve` as it will be done later, `closeDisk` for what it has opened. Leaves nothing behind. What
 * `options` say of the disk and of who may connect is not used.
 */
export async function rehearse(
  options: ProxyOptions,
  serve: Serve,
  closeDisk: () => Promise<void>,
): Promise<void> {
  // What lies idle would be thrown away again.
  setFlagsFromString('--no-flush-bytecode')
  const folder = makeFolder(options.control)
  const cleanup = new Cleanup()
  cleanup.defer(async () => rmSync(folder, { recursive: true }))
  try {
    const path = join(folder, 'disk')
    const scratchControl = join(folder, 'control')
    const uri = `nbd+unix:///?socket=${encodeURIComponent(join(folder, 'nbd'))}`
    writeFileSync(path, Buffer.alloc(DISK_BYTES))
    cleanup.defer(closeDisk)
    await serve(scratchOptions(options, { path, control: scratchControl, uri }), cleanup)
    const client = await connectControl(scratchControl)
    cleanup.defer(async () => client.close())
    await client.call('status', {}, { timeoutMs: ANSWER_MS_MAX })
    await exchange(uri)
    await mirror(client, uri, join(folder, 'target'), cleanup)
  } finally {
    await cleanup.run()
    // The compiler has taken some 10 MiB, and done.
    trimMemory()
  }
}

/** Where the control socket is to be there is room and a tmpfs, and nobody else. */
function makeFolder(control: string | undefined): string {
  if (control === undefined) return mkdtempSync(join(tmpdir(), 'blkferry-rehearsal-'))
  const folder = rehearsalFolder(control, process.pid)
  // Of an earlier process of this number.
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { mode: 0o700 })
  return folder
}

function scratchOptions(
  options: ProxyOptions,
  { path, control, uri }: { path: string; control: string; uri: string },
): ProxyOptions {
  return {
    ...options,
    path,
    control,
    listen: [uri],
    bitmap: undefined,
    tlsPskFile: undefined,
    exportName: '',
    readOnly: false,
    held: false,
    direct: 'auto',
  }
}

async function exchange(uri: string): Promise<void> {
  const client = await NbdClient.connect(uri, { structuredReplies: false, contexts: [] })
  try {
    const bytes = Buffer.alloc(REQUEST_BYTES)
    const endsAt = performance.now() + EXCHANGE_MS
    for (let round = 0; round < ROUNDS_MAX; round++) {
      if (round >= ROUNDS_MIN && performance.now() >= endsAt) break
      const offset = (round * REQUEST_BYTES) % DISK_BYTES
      await Promise.all([client.write(offset, bytes), client.read(offset, REQUEST_BYTES)])
    }
    await client.flush()
  } finally {
    await client.disconnect()
  }
}

/** With requests in both copy modes, and cancelled: nothing may be held or handed over. */
async function mirror(
  client: ControlClient,
  uri: string,
  targetPath: string,
  cleanup: Cleanup,
): Promise<void> {
  const timeout = { timeoutMs: ANSWER_MS_MAX }
  const close = await serveScratchTarget(targetPath, DISK_BYTES)
  cleanup.defer(async () => close())
  const params = {
    target: `nbd+unix:///?socket=${encodeURIComponent(targetPath)}`,
    copyMode: 'auto',
    bandwidth: 0,
    granularity: GRANULARITY,
    stallMs: ANSWER_MS_MAX,
    reconnectSeconds: 1,
  } as const
  await client.call('mirror-start', params, timeout)
  await exchange(uri)
  for (let polls = 0; polls < READY_POLLS_MAX; polls++) {
    const { state, error } = await client.call('mirror-status', {}, timeout)
    if (state === 'concluded') throw new Error(`the scratch mirror has ended: ${error}`)
    if (state === 'ready') break
    await sleep(READY_POLL_MS)
  }
  await exchange(uri)
  await client.call('mirror-cancel', {}, timeout)
}
