/**
 * The bytes of the journal: slots of one size, one record in each, zeroes after the last. A slot
 * that is neither whole nor zero was torn by a crash if it is the last one; anywhere else something
 * has damaged the file, and nothing in it is believed. A record is msgpack with a sequence number
 * that grows by one, under a SHA-256 over the whole slot.
 *
 *   u32 magic, u32 payload bytes, u64 sequence, 16 bytes of SHA-256, payload, zeroes
 */
import { createHash } from 'node:crypto'
import { Packr } from 'msgpackr'
import { integer, nullable, oneOf, record, text } from '../control/fields.ts'
import { JournalError } from './journal-error.ts'
import { type Holding, ROLES } from './roles.ts'

/** Bytes. One write of a page is what file systems tear least. */
export const SLOT_BYTES = 4096
const HEADER_BYTES = 32
const DIGEST_OFFSET = 16
const PAYLOAD_BYTES_MAX = SLOT_BYTES - HEADER_BYTES
const MAGIC = 0x314a4642
const ZEROES = Buffer.alloc(SLOT_BYTES)
/** Longest names (characters). */
export const DISK_NAME_MAX = 128
export const SESSION_NAME_MAX = 64

/** What a record sets: these disks, all at once. The first record of a file may set none. */
export type Entries = readonly (readonly [disk: string, holding: Holding])[]

const packr = new Packr({ useRecords: false, mapsAsObjects: true, moreTypes: false })

const holdingFields = record<{
  disk: string
  role: Holding['role']
  epoch: number
  session: string | null
}>({
  disk: text(1, DISK_NAME_MAX),
  role: oneOf(ROLES),
  epoch: integer(),
  session: nullable(text(1, SESSION_NAME_MAX)),
})

/**
 * One slot. Throws JournalError `refused` if the names are too long or there are too many disks.
 */
export function encodeSlot(sequence: number, entries: Entries): Uint8Array {
  const payload = packr.pack(entries.map(plainEntry))
  if (payload.byteLength > PAYLOAD_BYTES_MAX) {
    const message = `journal record of ${entries.length} disks has ${payload.byteLength} bytes`
    throw new JournalError('refused', `${message}, the limit is ${PAYLOAD_BYTES_MAX}`)
  }
  const slot = Buffer.alloc(SLOT_BYTES)
  slot.writeUInt32LE(MAGIC, 0)
  slot.writeUInt32LE(payload.byteLength, 4)
  slot.writeBigUInt64LE(BigInt(sequence), 8)
  payload.copy(slot, HEADER_BYTES)
  digestOf(slot).copy(slot, DIGEST_OFFSET)
  return slot
}

function plainEntry([disk, { role, epoch, session }]: Entries[number]): object {
  try {
    return holdingFields.check({ disk, role, epoch, session: session ?? null }, 'journal entry')
  } catch (error) {
    throw new JournalError('refused', (error as Error).message, error)
  }
}

/** As many slots as the entries need. */
export function encodeSnapshot(sequence: number, entries: Entries): Uint8Array[] {
  const slots: Uint8Array[] = []
  // Two names of the longest kind take 800 bytes at most, so four disks always fit.
  for (let from = 0; from === 0 || from < entries.length; from += 4) {
    slots.push(encodeSlot(sequence + slots.length, entries.slice(from, from + 4)))
  }
  return slots
}

export interface Replay {
  readonly holdings: Map<string, Holding>
  /** Number of the last record. */
  readonly sequence: number
  /** Slots with records: the next one goes behind them, over a torn one if there is one. */
  readonly used: number
  /** Whole slots in the file. */
  readonly total: number
  readonly isTorn: boolean
}

/** Reads a journal. Throws JournalError `corrupt`. */
export function replay(bytes: Uint8Array): Replay {
  const holdings = new Map<string, Holding>()
  let sequence = -1
  let used = 0
  let end: 'none' | 'empty' | 'torn' = 'none'
  for (let offset = 0; offset < bytes.byteLength; offset += SLOT_BYTES) {
    const length = Math.min(SLOT_BYTES, bytes.byteLength - offset)
    const slot = Buffer.from(bytes.buffer, bytes.byteOffset + offset, length)
    const isEmpty = slot.equals(ZEROES.subarray(0, slot.byteLength))
    const found = isEmpty ? undefined : decodeSlot(slot)
    if (end !== 'none') {
      if (!isEmpty) throw corrupt(offset, 'has something behind its end')
    } else if (found === undefined) {
      if (used === 0) throw corrupt(offset, 'has no first record')
      end = isEmpty ? 'empty' : 'torn'
    } else {
      if (used > 0 && found.sequence !== sequence + 1) throw corrupt(offset, 'lacks a record')
      for (const [disk, holding] of found.entries) holdings.set(disk, holding)
      sequence = found.sequence
      used++
    }
  }
  if (used === 0) throw corrupt(0, 'is empty')
  const total = Math.floor(bytes.byteLength / SLOT_BYTES)
  return { holdings, sequence, used, total, isTorn: end === 'torn' }
}

/** Undefined unless every bit is right. */
function decodeSlot(slot: Buffer): { sequence: number; entries: Entries } | undefined {
  if (slot.byteLength < SLOT_BYTES || slot.readUInt32LE(0) !== MAGIC) return undefined
  const length = slot.readUInt32LE(4)
  if (length > PAYLOAD_BYTES_MAX || !digestOf(slot).equals(digestIn(slot))) return undefined
  const payload = slot.subarray(HEADER_BYTES, HEADER_BYTES + length)
  return { sequence: Number(slot.readBigUInt64LE(8)), entries: decodeEntries(payload) }
}

/** The digest was right, so whatever is wrong here was written so, by another version perhaps. */
function decodeEntries(payload: Uint8Array): Entries {
  try {
    const unpacked: unknown = packr.unpack(payload)
    if (!Array.isArray(unpacked)) throw new Error('journal record is no list')
    return unpacked.map((value): Entries[number] => {
      const { disk, session, ...rest } = holdingFields.check(value, 'journal entry')
      return [disk, { ...rest, session: session ?? undefined }]
    })
  } catch (error) {
    const message = `journal is of another version (${(error as Error).message}); use that one`
    throw new JournalError('corrupt', message, error)
  }
}

const digestIn = (slot: Buffer): Buffer => slot.subarray(DIGEST_OFFSET, HEADER_BYTES)

function digestOf(slot: Buffer): Buffer {
  const hash = createHash('sha256').update(slot.subarray(0, DIGEST_OFFSET))
  return hash
    .update(slot.subarray(HEADER_BYTES))
    .digest()
    .subarray(0, HEADER_BYTES - DIGEST_OFFSET)
}

function corrupt(offset: number, problem: string): JournalError {
  const advice = 'find out which host runs the guest before you set it aside'
  return new JournalError('corrupt', `journal ${problem} at byte ${offset}; ${advice}`)
}
