/**
 * Speaks for xl of one host whose domains and xenstore are files in a folder: its wire protocol, its
 * exits, and the hotplug script that it runs. Shares no code with what it tests.
 *
 *   stub-xl.mjs FOLDER migrate -s COMMAND DOMID HOST        stub-xl.mjs FOLDER migrate-receive
 *
 * A file `fault` in the folder makes it fail: fail-create, fail-unpause, die-at-go, slow-memory,
 * strange-config, crash-at-go (as die-at-go, and the new domain is gone as well).
 */
import { spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'

const [, , folder, command, ...words] = process.argv
const BANNER = 'xl migration receiver ready, send binary domain data.\n'
const READY = 'domain received, ready to unpause\0'
const GO = 'domain is yours, you are cleared to unpause\0'
const REPORT = 'my copy unpause results are as follows\0'

const fault = existsSync(join(folder, 'fault')) ? readFileSync(join(folder, 'fault'), 'utf8') : ''
const note = text => writeFileSync(join(folder, 'xl.log'), `${text}\n`, { flag: 'a' })
const store = (path, value) =>
  writeFileSync(join(folder, 'xenstore', encodeURIComponent(path)), value)
const domainFile = domid => join(folder, 'domains', `${domid}.json`)
const readDomain = domid => JSON.parse(readFileSync(domainFile(domid), 'utf8'))
function writeDomain(domain) {
  writeFileSync(`${domainFile(domain.domid)}.new`, JSON.stringify(domain))
  renameSync(`${domainFile(domain.domid)}.new`, domainFile(domain.domid))
  store(`/local/domain/${domain.domid}/name`, domain.name)
}

/** Reads exactly what is asked for; undefined once the stream has ended. */
class Reader {
  #bytes = Buffer.alloc(0)
  #isEnded = false
  #wake = () => {}
  constructor(stream) {
    const more = chunk => {
      this.#bytes = Buffer.concat([this.#bytes, chunk])
      this.#wake()
    }
    const end = () => {
      this.#isEnded = true
      this.#wake()
    }
    stream.on('data', more).on('end', end).on('close', end).on('error', end)
  }
  async bytes(length) {
    while (this.#bytes.length < length && !this.#isEnded) {
      await new Promise(resolve => {
        this.#wake = resolve
      })
    }
    if (this.#bytes.length < length) return undefined
    const taken = this.#bytes.subarray(0, length)
    this.#bytes = this.#bytes.subarray(length)
    return taken
  }
  async is(text) {
    return (await this.bytes(text.length))?.toString('latin1') === text
  }
}

const hotplug = (action, path) =>
  spawnSync(
    process.execPath,
    [join(process.env.BLKFERRY_DIST, 'cli/hotplug-main.js'), action, path],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
    },
  ).status === 0

/** What stands for a disk that names no script, and does nothing here. */
const STOCK = '/etc/xen/scripts/block'
const isOurs = disk => disk.script !== undefined && disk.script !== STOCK

function removeDisks(domain) {
  for (const [index, disk] of domain.disks.entries()) {
    if (isOurs(disk)) hotplug('remove', `backend/vbd/${domain.domid}/${51712 + index * 16}`)
  }
  for (const name of readdirSync(join(folder, 'xenstore'))) {
    const path = decodeURIComponent(name)
    const isOfDomain =
      path.includes(`/vbd/${domain.domid}/`) || path.startsWith(`/local/domain/${domain.domid}/`)
    if (isOfDomain) rmSync(join(folder, 'xenstore', name))
  }
}

function destroy(domain) {
  note(`destroy ${domain.name}`)
  rmSync(domainFile(domain.domid), { force: true })
  removeDisks(domain)
}

/** As libxl writes it: one of its own is a disk that names no script. */
function configOf({ name, disks }) {
  const config = {
    c_info: { type: 'pvh', name, uuid: '2d1ac0c8-6b46-4ac8-a5c9-c2b4c7d5a001' },
    b_info: { max_vcpus: 1, max_memkb: 98304, target_memkb: 98304, cmdline: 'root="/dev/xvda"' },
    disks: disks.map(disk => ({
      pdev_path: disk.disk,
      vdev: disk.vdev,
      backend: 'phy',
      format: 'raw',
      ...(isOurs(disk) && { script: disk.script }),
      readwrite: 1,
    })),
    on_reboot: 'restart',
  }
  const text = JSON.stringify(config, undefined, 4)
  return fault === 'strange-config' ? text.replace('98304', '18446744073709551615') : text
}

/** The header of what xl saves and sends, and the configuration behind it. */
function savedDomain(config) {
  const text = Buffer.from(`${config}\n\0`)
  const header = Buffer.alloc(52)
  header.write('Xen saved domain, xl format\n \0 \r', 'latin1')
  const words = [0x01020304, 3, 0, 4 + text.length, text.length]
  words.forEach((word, index) => {
    header.writeUInt32LE(word, 32 + index * 4)
  })
  return Buffer.concat([header, text])
}

/** The configuration of a saved domain; undefined if it is none. */
async function readSavedDomain(reader) {
  if (!(await reader.is('Xen saved domain, xl format\n \0 \r'))) return undefined
  const words = await reader.bytes(16)
  if (words?.readUInt32LE(0) !== 0x01020304 || words.readUInt32LE(4) !== 3) return undefined
  const data = await reader.bytes(words.readUInt32LE(12))
  const length = data?.readUInt32LE(0) ?? -4
  if (data?.length !== 4 + length || data.indexOf(0, 4) !== data.length - 1) return undefined
  return JSON.parse(data.toString('utf8', 4, data.length - 1))
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

async function migrate() {
  const at = words.indexOf('-s')
  const [domid, host] = words.slice(at + 2)
  const domain = readDomain(domid)
  const transport = spawn('sh', ['-c', `exec ${words[at + 1]} ${host} xl migrate-receive`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let isBroken = false
  transport.stdin.on('error', () => {
    isBroken = true
  })
  const reader = new Reader(transport.stdout)
  const fail = () => {
    note('resume')
    const now = readDomain(domid)
    writeDomain({ ...now, name: domain.name, state: 'running' })
    process.exit(1)
  }
  if (!(await reader.is(BANNER))) process.exit(1)
  transport.stdin.write(savedDomain(configOf(domain)))
  for (let piece = 0; piece < (fault === 'slow-memory' ? 100 : 5); piece++) {
    transport.stdin.write(Buffer.alloc(10_000, 1))
    await sleep(fault === 'slow-memory' ? 50 : 5)
    if (isBroken) fail()
  }
  store(`/local/domain/${domid}/control/shutdown`, 'suspend')
  writeDomain({ ...readDomain(domid), state: 'suspended' })
  note('suspended')
  transport.stdin.write('E')
  if (!(await reader.is(READY))) fail()
  writeDomain({ ...readDomain(domid), name: `${domain.name}--migratedaway` })
  transport.stdin.write(GO)
  const report = (await reader.is(REPORT)) ? (await reader.bytes(1))?.[0] : undefined
  if (report === 0) {
    destroy(readDomain(domid))
    process.exit(0)
  }
  if (report !== undefined && (await reader.is(GO))) fail()
  note('failed badly')
  process.exit(1)
}

async function receive() {
  const reader = new Reader(process.stdin)
  process.stdout.write(BANNER)
  const saved = await readSavedDomain(reader)
  if (saved === undefined) process.exit(1)
  note(`config ${JSON.stringify(saved)}`)
  const { name } = saved.c_info
  const disks = saved.disks.map(({ vdev, pdev_path: disk, script = STOCK }) => ({
    vdev,
    disk,
    script,
  }))
  for (;;) {
    const byte = await reader.bytes(1)
    if (byte === undefined) process.exit(1)
    if (byte[0] === 69) break
  }
  const domids = readdirSync(join(folder, 'domains')).map(name => Number.parseInt(name, 10))
  const domain = {
    disks,
    domid: Math.max(0, ...domids) + 1,
    name: `${name}--incoming`,
    state: 'paused',
  }
  writeDomain(domain)
  let isWhole = fault !== 'fail-create'
  for (const [index, disk] of disks.entries()) {
    const path = `backend/vbd/${domain.domid}/${51712 + index * 16}`
    const fields = { params: disk.disk, dev: disk.vdev, script: disk.script, mode: 'w' }
    for (const [field, value] of Object.entries(fields)) {
      store(`/local/domain/0/${path}/${field}`, value)
    }
    if (isOurs(disk)) isWhole &&= hotplug('add', path)
  }
  if (!isWhole) {
    destroy(domain)
    process.exit(3)
  }
  process.stdout.write(READY)
  const isCleared = await reader.is(GO)
  if (isCleared && fault === 'crash-at-go') rmSync(domainFile(domain.domid))
  if (isCleared && /^(die|crash)-at-go$/.test(fault)) process.kill(process.pid, 'SIGKILL')
  if (isCleared && fault !== 'fail-unpause') {
    writeDomain({ ...domain, name, state: 'running' })
    note('running')
    process.stdout.write(`${REPORT}\0`, () => process.exit(0))
    return
  }
  process.stdout.write(`${REPORT}\u0003`)
  destroy(domain)
  process.stdout.write(GO, () => process.exit(1))
}

mkdirSync(join(folder, 'domains'), { recursive: true })
await (command === 'migrate' ? migrate() : receive())
