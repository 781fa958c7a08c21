/**
 * Runs on a host of the lab, beside the daemon: one disk path, driven by words on stdin, which
 * answers each with a line of JSON. `node disk-path.mjs DEVICE`.
 */
import { mkdirSync, readdirSync } from 'node:fs'
import { createInterface } from 'node:readline'

const HOME = '/usr/local/lib/blkferry'
const RUN_FOLDER = '/run/blkferry-path'
const STANDBY_MS_MAX = 180_000
const EVENT_MS_MAX = 120_000

const load = name => import(`${HOME}/dist/${name}.js`)
const { DeviceMapper } = await load('host/device-mapper')
const { KernelNbd } = await load('host/kernel-nbd')
const { openDiskPath } = await load('chain/open-disk-path')
const { findLeftovers, cleanUp } = await load('chain/leftovers')

let standing = 0
let hears = () => {}
const say = (...words) => process.stderr.write(`${JSON.stringify(words)}\n`)
const log = {
  info: (fields, text) => {
    if ((text ?? fields) === 'next proxy stands by') standing++
    say(fields, text)
  },
  warn: say,
  error: (fields, text) => say({ ...fields, err: String(fields.err) }, text),
}
const host = { mapper: DeviceMapper.open(), nbd: await KernelNbd.open(), log }
const options = {
  ...host,
  device: process.argv[2],
  session: 'lab',
  disk: 'xvda',
  runFolder: RUN_FOLDER,
  proxyCommand: [process.execPath, `${HOME}/dist/cli/main.js`],
  events: {
    replaced: reason => hears({ event: 'replaced', reason }),
    lost: reason => hears({ event: 'lost', reason }),
  },
}
mkdirSync(RUN_FOLDER, { recursive: true })
let path

const pause = ms => new Promise(resolve => setTimeout(resolve, ms))
const event = () =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('nothing was told')), EVENT_MS_MAX)
    hears = told => {
      clearTimeout(timer)
      resolve(told)
    }
  })

const verbs = {
  start: async () => {
    standing = 0
    path = await openDiskPath(options)
    await path.start()
  },
  stop: () => path.stop(),
  seal: () => path.seal(),
  unseal: () => path.unseal(),
  discard: () => path.discard(),
  /** Until the proxy that would come next is ready. */
  standby: async () => {
    for (const since = performance.now(); standing === 0; ) {
      if (performance.now() - since > STANDBY_MS_MAX) throw new Error('no proxy stands by')
      await pause(50)
    }
    standing = 0
  },
  /** Signals the proxy in the path, and waits for what comes of it. */
  signal: async name => {
    const { pid } = await path.call('status', {}, { timeoutMs: 30_000 })
    const told = event()
    process.kill(pid, name)
    return await told
  },
  event,
  state: async () => ({ state: path.state, table: await host.mapper.table(options.device) }),
  /** What a new daemon does; the old one has to be gone. */
  restore: async () => {
    const found = await findLeftovers({ ...host, runFolder: RUN_FOLDER })
    for (const one of found) await cleanUp(one, 'restore', { ...host, runFolder: RUN_FOLDER })
    return found
  },
  left: async () => ({
    devices: (await host.mapper.list()).map(one => one.name).filter(one => /^blkferry-/.test(one)),
    files: readdirSync(RUN_FOLDER).filter(one => !one.endsWith('.log')),
  }),
}

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, ...words] = line.trim().split(' ')
  const since = performance.now()
  try {
    const result = await verbs[verb](...words)
    const ms = Math.round(performance.now() - since)
    process.stdout.write(`${JSON.stringify({ ms, result: result ?? null })}\n`)
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: String(error.message ?? error) })}\n`)
  }
}
process.exit(0)
