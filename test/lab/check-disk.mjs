/**
 * Runs on a host of the lab: `node check-disk.mjs DEVICE WRITES`. Does the disk hold what a guest
 * under load `steady` has written, of which it saw the first WRITES acknowledged, before it came to
 * a sudden end? Which write went where follows from the generator of test/lab/guest/writer.c.
 * Prints JSON: blocks, bad, firstBad, and the last write that was found.
 */
import { closeSync, openSync, readSync } from 'node:fs'

const [, , device, words] = process.argv
const acknowledged = Number(words)
const BLOCK = 4096
const RUN = 32
/** Writes that may have been on their way. */
const BEYOND = 100_000
/** Of each block of these its whole content is compared, not its head alone: it takes long. */
const WHOLE_EVERY = 64
const MASK = (1n << 64n) - 1n

const fd = openSync(device, 'r')
const bytes = Buffer.alloc(RUN * BLOCK)
let blocks = 0
const heads = []
const wrong = []
for (;;) {
  const length = readSync(fd, bytes, 0, bytes.length, blocks * BLOCK)
  if (length === 0) break
  for (let at = 0; at < length; at += BLOCK, blocks++) {
    heads.push([bytes.readBigUInt64LE(at), bytes.readBigUInt64LE(at + 8)])
    if (blocks % WHOLE_EVERY === 0 && !isWhole(bytes.subarray(at, at + BLOCK))) wrong.push(blocks)
  }
}
closeSync(fd)

/** Of each block all the writes to it, from the last that was acknowledged on. */
const allowed = heads.map((_head, block) => [1 + Math.floor(block / RUN)])
let random = 88172645463325253n
for (let write = 1 + blocks / RUN; write <= acknowledged + BEYOND; write++) {
  random ^= (random << 13n) & MASK
  random ^= random >> 7n
  random ^= (random << 17n) & MASK
  const list = allowed[Number(random % BigInt(blocks))]
  if (write <= acknowledged) list.length = 0
  list.push(write)
}
const bad = heads.flatMap(([write, block], at) => {
  const isRight = block === BigInt(at) && allowed[at].includes(Number(write))
  return isRight && !wrong.includes(at) ? [] : [`block ${at} holds write ${write} of ${block}`]
})
const last = Math.max(...heads.map(([write]) => Number(write)))
console.log(JSON.stringify({ blocks, bad: bad.length, firstBad: bad[0] ?? '', last }))

function isWhole(block) {
  const word = at => block.readBigUInt64LE(at * 8)
  let x = ((word(0) * 0x9e3779b97f4a7c15n) & MASK) ^ (((word(1) + 1n) * 0xc2b2ae3d27d4eb4fn) & MASK)
  for (let at = 2; at < BLOCK / 8; at++) {
    x ^= (x << 13n) & MASK
    x ^= x >> 7n
    x ^= (x << 17n) & MASK
    if (word(at) !== x) return false
  }
  return true
}
