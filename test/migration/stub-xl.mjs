/**
 * Speaks for xl on the wire of `xl migrate`, with its pipes and its exits. Written for itself, from the
 * protocol alone: it shares no code with what it tests. Pretends a domain's memory by bytes from a
 * seed, and writes what happened to a file.
 *
 *   stub-xl.mjs send LOG BYTES SEED        stub-xl.mjs receive LOG [fail-early|fail-create|fail-unpause]
 */
import { createHash } from 'node:crypto'
import { appendFileSync, readSync, writeSync } from 'node:fs'

const [, , role, log, ...rest] = process.argv
const note = words => appendFileSync(log, `${words}\n`)

const BANNER = 'xl migration receiver ready, send binary domain data.\n'
const READY = 'domain received, ready to unpause\0'
const GO = 'domain is yours, you are cleared to unpause\0'
const REPORT = 'my copy unpause results are as follows\0'

function retry(work) {
  for (;;) {
    try {
      return work()
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error
    }
  }
}

/** Exactly that many bytes; undefined if the stream ends first. */
function read(length) {
  const bytes = Buffer.alloc(length)
  for (let done = 0; done < length; ) {
    const count = retry(() => readSync(0, bytes, done, length - done, null))
    if (count === 0) return undefined
    done += count
  }
  return bytes
}

const readText = text => read(text.length)?.toString('latin1') === text

function write(bytes) {
  const all = Buffer.from(bytes)
  for (let done = 0; done < all.length; ) done += retry(() => writeSync(1, all, done))
}

function memory(length, seed) {
  const bytes = Buffer.alloc(length)
  let state = seed >>> 0 || 1
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[at] = state >>> 24
  }
  return bytes
}

const digest = bytes => createHash('sha256').update(bytes).digest('hex')

function resume(code) {
  note('resume')
  process.exit(code)
}

function send() {
  const [length, seed] = rest.map(Number)
  if (!readText(BANNER)) {
    note('no banner')
    process.exit(1)
  }
  const bytes = memory(length, seed)
  const header = Buffer.alloc(4)
  header.writeUInt32LE(length)
  try {
    write(header)
    for (let at = 0; at < length; at += 65536) write(bytes.subarray(at, at + 65536))
  } catch (error) {
    note(`stream ${error.code}`)
    resume(1)
  }
  note(`suspended ${digest(bytes)}`)
  if (!readText(READY)) resume(1)
  note('renamed')
  try {
    write(GO)
  } catch {
    note('failed badly')
    process.exit(1)
  }
  const code = readText(REPORT) ? read(1)?.[0] : undefined
  if (code === undefined) {
    note('failed badly')
    process.exit(1)
  }
  if (code === 0) {
    note('destroyed')
    process.exit(0)
  }
  if (!readText(GO)) {
    note('failed badly')
    process.exit(1)
  }
  resume(1)
}

function receive() {
  const [fault] = rest
  write(BANNER)
  const header = read(4)
  if (fault === 'fail-early') process.exit(3)
  const bytes = header && read(header.readUInt32LE(0))
  if (bytes === undefined || fault === 'fail-create') {
    note('create failed')
    process.exit(3)
  }
  note(`paused ${digest(bytes)}`)
  write(READY)
  const isCleared = readText(GO)
  if (isCleared && fault !== 'fail-unpause') {
    note('running')
    write(`${REPORT}\0`)
    process.exit(0)
  }
  try {
    write(REPORT)
    write(Buffer.from([3]))
  } catch {
    note('left paused')
    process.exit(1)
  }
  note('destroyed')
  write(GO)
  process.exit(1)
}

if (role === 'send') send()
else receive()
