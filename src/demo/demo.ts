/**
 * The demo's course: an image, two proxies, a writing client, the mirror, the hand-over, the proof.
 * The proxies are real processes, and the client speaks to them as any NBD client does. All that is
 * started or made here is stopped and removed through `cleanup`, which runs on every way out.
 */
import { randomInt } from 'node:crypto'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { NbdClient } from 'nbd-client-ts'
import { CommandFailure, EXIT, UsageError } from '../cli/exit-codes.ts'
import type { Output } from '../cli/output.ts'
import { progressLine } from '../cli/progress.ts'
import { formatSize } from '../cli/units.ts'
import { connectControl } from '../control/channel.ts'
import type { ControlClient } from '../control/client.ts'
import type { MirrorStatus } from '../control/status.ts'
import type { Cleanup } from './cleanup.ts'
import { createGuestImage, createSparse, type GuestImage, IMAGE_SIZE_MIN } from './guest-image.ts'
import type { DemoOptions } from './options.ts'
import { compareDisks, fileSystemFault } from './proof.ts'
import { ServeProcess } from './serve-process.ts'
import { type Check, isRight, type Summary, summaryTable } from './summary.ts'
import { VerifyingWriter } from './verifying-writer.ts'

const PHASE_MS = 2000
const POLL_MS = 200
const LINE_EVERY_MS = 1000
const ANSWER_MS_MAX = 60_000
const COMPLETE_MS_MAX = 120_000
const WRITER_DEPTH = 8

export interface DemoContext {
  readonly output: Output
  readonly cleanup: Cleanup
  readonly signal: AbortSignal
}

/** Resolves with whether everything that could be proved was right. */
export async function runDemo(options: DemoOptions, context: DemoContext): Promise<boolean> {
  if (options.size < IMAGE_SIZE_MIN) throw new UsageError('--size must be at least 64M')
  const { output, cleanup, signal } = context
  const folder = await makeFolder(options, context)
  say(output, `making a disk of ${formatSize(options.size)} with files in it`)
  const image = await createGuestImage(folder, options.size, signal)
  if (!image.hasFileSystem) {
    say(output, 'going without a file system, for mke2fs and debugfs (e2fsprogs) are not installed')
  }
  const control = join(folder, 'source.control')
  const source = await startServe(cleanup, options, {
    path: image.path,
    listen: `nbd+unix:///?socket=${join(folder, 'source.nbd')}`,
    control,
  })
  const destination = await openDestination(folder, image, options, context)
  const mirrorControl = await connectControl(control)
  cleanup.defer(async () => mirrorControl.close())

  const { blockCount, offsetOf } = image
  const { rate } = options
  const depth = WRITER_DEPTH
  const writer = new VerifyingWriter({ blockCount, offsetOf, rate, depth, random })
  const client = await connect(cleanup, source.uri)
  writer.startGap()
  writer.attach(client)
  say(output, 'the client writes')
  await sleep(PHASE_MS, undefined, { signal })

  writer.startPhase('during')
  const { engine } = await mirrorControl.call('status', {}, { timeoutMs: ANSWER_MS_MAX })
  const readyMs = await copy(mirrorControl, destination.uri, options, context)
  await sleep(PHASE_MS / 2, undefined, { signal })

  writer.startGap()
  const { verify } = options
  const call = { timeoutMs: COMPLETE_MS_MAX + ANSWER_MS_MAX }
  const complete = { verify, resume: false, timeoutMs: COMPLETE_MS_MAX }
  const mirror = await mirrorControl.call('mirror-complete', complete, call)
  if (mirror.outcome !== 'completed') throw new Error(`the mirror ended: ${progressLine(mirror)}`)
  writer.startPhase('after')
  const moved = await connect(cleanup, destination.uri)
  writer.attach(moved)
  say(output, `handed over: ${progressLine(mirror)}`)
  await sleep(PHASE_MS, undefined, { signal })
  await writer.stop()
  const clientGapMs = writer.gapMaxMs

  say(output, 'checking')
  await source.stop()
  const checks = await prove(image, writer, moved, destination)
  const latencies = {
    before: writer.phase('before').latencies.summary(),
    during: writer.phase('during').latencies.summary(),
    after: writer.phase('after').latencies.summary(),
  }
  const summary: Summary = { engine, mirror, readyMs, latencies, clientGapMs, checks }
  output.result(summary, summaryTable(summary))
  return isRight(summary)
}

/** From 0 to below 1. */
function random(): number {
  return randomInt(2 ** 32) / 2 ** 32
}

function say(output: Output, text: string): void {
  output.result({ step: text }, text)
}

async function makeFolder({ keep }: DemoOptions, { output, cleanup }: DemoContext) {
  const folder = await mkdtemp(join(tmpdir(), 'blkferry-demo-'))
  cleanup.defer(async () => {
    if (keep) say(output, `the images are in ${folder}`)
    else await rm(folder, { recursive: true, force: true })
  })
  return folder
}

async function startServe(
  cleanup: Cleanup,
  { engine }: DemoOptions,
  options: { path: string; listen: string; control?: string },
): Promise<ServeProcess> {
  const serve = ServeProcess.spawn({ ...options, words: ['--engine', engine] })
  cleanup.defer(() => serve.stop())
  await serve.listening()
  return serve
}

async function connect(cleanup: Cleanup, uri: string): Promise<NbdClient> {
  const client = await NbdClient.connect(uri, { requestTimeoutMs: COMPLETE_MS_MAX })
  cleanup.defer(() => client.disconnect())
  return client
}

interface Destination {
  readonly uri: string
  /** Of our own destination only. */
  readonly path: string | undefined
  readonly serve: ServeProcess | undefined
}

async function openDestination(
  folder: string,
  { size }: GuestImage,
  options: DemoOptions,
  { cleanup }: DemoContext,
): Promise<Destination> {
  if (options.target !== undefined) {
    const path = undefined
    return { uri: options.target, path, serve: undefined }
  }
  const path = join(folder, 'destination.img')
  await createSparse(path, size)
  const listen = `nbd+unix:///?socket=${join(folder, 'destination.nbd')}`
  const serve = await startServe(cleanup, options, { path, listen })
  return { uri: serve.uri, path, serve }
}

/** Starts the mirror and follows it until it is ready; resolves with how long that took. */
async function copy(
  control: ControlClient,
  target: string,
  { copyMode, bandwidth }: DemoOptions,
  { output, signal }: DemoContext,
): Promise<number> {
  const started = performance.now()
  const params = { target, copyMode, bandwidth, granularity: 64 * 1024, stallMs: 100 }
  const call = { timeoutMs: ANSWER_MS_MAX }
  let status: MirrorStatus = await control.call(
    'mirror-start',
    { ...params, reconnectSeconds: 300 },
    call,
  )
  let printed = Number.NEGATIVE_INFINITY
  while (status.state !== 'ready') {
    if (status.state === 'concluded') {
      throw new CommandFailure(EXIT.mirror, `the mirror ended early: ${progressLine(status)}`)
    }
    const now = performance.now()
    if (output.isRedrawn || now - printed >= LINE_EVERY_MS) {
      output.update(status, progressLine(status))
      printed = now
    }
    await sleep(POLL_MS, undefined, { signal })
    status = await control.call('mirror-status', {}, call)
  }
  output.result(status, progressLine(status))
  return performance.now() - started
}

async function prove(
  image: GuestImage,
  writer: VerifyingWriter,
  target: NbdClient,
  destination: Destination,
): Promise<Check[]> {
  const errors: Check = {
    name: 'the client saw no error',
    isRight: writer.errors.length === 0,
    detail: writer.errors.length === 0 ? 'none' : String(writer.errors[0]),
  }
  const { checked, lost } = await writer.verify(target)
  const present: Check = {
    name: 'every acknowledged write is on the target',
    isRight: lost.length === 0,
    detail:
      lost.length === 0
        ? `${checked} blocks of ${writer.count} writes read back`
        : `${lost.length} of ${checked} blocks are lost, the first at byte ${lost[0]?.offset}`,
  }
  const written = new Set([...writer.phase('after').blocks].map(image.offsetOf))
  const { size, wrong, changed } = await compareDisks(image.path, target, written)
  const identical: Check = {
    name: 'the disks were identical at the hand-over',
    isRight: wrong.length === 0,
    detail:
      wrong.length === 0
        ? `${formatSize(size)} compared; ${changed} blocks differ, written by the client since`
        : `${wrong.length} blocks differ for no reason, the first at byte ${wrong[0]}`,
  }
  await target.disconnect()
  await destination.serve?.stop()
  return [errors, present, identical, ...(await proveFileSystems(image, destination))]
}

async function proveFileSystems(image: GuestImage, { path }: Destination): Promise<Check[]> {
  const name = 'the file system is clean'
  if (!image.hasFileSystem) {
    return [{ name, isRight: undefined, detail: 'there is none, for e2fsprogs is not installed' }]
  }
  const paths = path === undefined ? [image.path] : [image.path, path]
  const faults = await Promise.all(paths.map(fileSystemFault))
  const fault = faults.find(text => text !== undefined)
  const where = path === undefined ? 'of the source, which the target equals' : 'on both disks'
  const thin = path === undefined ? '' : `, the target takes ${await allocated(path)}`
  return [
    {
      name,
      isRight: fault === undefined,
      detail: fault ?? `e2fsck has no complaint ${where}${thin}`,
    },
  ]
}

async function allocated(path: string): Promise<string> {
  return formatSize((await stat(path)).blocks * 512)
}
