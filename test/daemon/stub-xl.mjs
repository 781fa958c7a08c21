/**
 * Speaks for xl of one host whose domains and xenstore are files in a folder: its wire protocol, its
 * exits, and the hotplug script that it runs. Shares no code with what it tests.
 *
 *   stub-xl.mjs FOLDER migrate -s COMMAND DOMID HOST        stub-xl.mjs FOLDER migrate-receive
 *
 * A file `fault` in the folder makes it fail: fail-create, fail-unpause, die-at-go, slow-memory.
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

function removeDisks(domain) {
  for (const [index] of domain.disks.entries()) {
    hotplug('remove', `backend/vbd/${domain.domid}/${51712 + index * 16}`)
  }
  for (const name of readdirSync(join(folder, 'xenstore'))) {
    const path = decodeURIComponent(name)
    if (path.includes(`/vbd/${domain.domid}/`)) rmSync(join(folder, 'xenstore', name))
  }
}

function destroy(domain) {
  note(`destroy ${domain.name}`)
  rmSync(domainFile(domain.domid), { force: true })
  removeDisks(domain)
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
  const config = Buffer.from(JSON.stringify({ name: domain.name, disks: domain.disks }))
  const header = Buffer.alloc(4)
  header.writeUInt32LE(config.length)
  transport.stdin.write(Buffer.concat([header, config]))
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
  const length = await reader.bytes(4)
  if (length === undefined) process.exit(1)
  const config = JSON.parse((await reader.bytes(length.readUInt32LE(0))).toString())
  for (;;) {
    const byte = await reader.bytes(1)
    if (byte === undefined) process.exit(1)
    if (byte[0] === 69) break
  }
  const domids = readdirSync(join(folder, 'domains')).map(name => Number.parseInt(name, 10))
  const domain = {
    ...config,
    domid: Math.max(0, ...domids) + 1,
    name: `${config.name}--incoming`,
    state: 'paused',
  }
  writeDomain(domain)
  let isWhole = fault !== 'fail-create'
  for (const [index, disk] of config.disks.entries()) {
    const path = `backend/vbd/${domain.domid}/${51712 + index * 16}`
    const fields = { params: disk.disk, dev: disk.vdev, script: 'block-ferry', mode: 'w' }
    for (const [name, value] of Object.entries(fields)) {
      store(`/local/domain/0/${path}/${name}`, value)
    }
    isWhole &&= hotplug('add', path)
  }
  if (!isWhole) {
    destroy(domain)
    process.exit(3)
  }
  process.stdout.write(READY)
  const isCleared = await reader.is(GO)
  if (isCleared && fault === 'die-at-go') process.kill(process.pid, 'SIGKILL')
  if (isCleared && fault !== 'fail-unpause') {
    writeDomain({ ...domain, name: config.name, state: 'running' })
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
