/**
 * The guest's configuration on its way between the two xl: a header, then optional data, which
 * begins with the configuration as JSON (tools/xl/xl.h and xl_saverestore.c, the same from Xen 4.6
 * to 4.20). Here it is held against what the session knows of the guest: the other host adds
 * whatever disks stand there, and one that nobody has copied must not be handed to a running guest.
 * Some disks get another hotplug script, so that the other host adds them by it. Whatever is behind
 * the configuration passes as it is.
 */

/** "\n \0 \r" is for transports that mean well. */
const MAGIC = Buffer.from('Xen saved domain, xl format\n \0 \r', 'latin1')
const BYTE_ORDER = 0x01020304
const FLAG_JSON = 1
/** Where things are in the header (bytes). */
const AT = { byteOrder: 32, mandatoryFlags: 36, optionalDataLength: 44, configLength: 48 }
/** The header, and the length of the configuration. */
const HEAD_BYTES = 52
/** A configuration has some thousand bytes. */
export const CONFIG_BYTES_MAX = 1024 * 1024
/** Of a name or path in a sentence. */
const SAID_MAX = 256

/** What a disk of the session is to be at the destination. */
export interface ConfigDisk {
  /** As in the guest: xvda. */
  readonly vdev: string
  /** What the hotplug script is told of the disk. */
  readonly target: string
  /** The hotplug script that it is given; left out: nothing of the disk changes. */
  readonly script?: string
}

/** What the configuration has to say. */
export interface ConfiguredGuest {
  readonly domain: string
  readonly disks: readonly ConfigDisk[]
  /** Disks that are not copied and may be there all the same, as xvdc: read only. */
  readonly readOnly: readonly string[]
}

/** A sentence that says why a configuration cannot go on. */
export class XlConfigError extends Error {
  override readonly name = 'XlConfigError'
}

/** One for each stream, from its first byte. */
export class XlConfigRewriter {
  readonly #guest: ConfiguredGuest
  #held: Uint8Array[] = []
  #heldBytes = 0
  /** So many bytes have to be there before the next step. */
  #wantedBytes = HEAD_BYTES
  #isDone = false
  #problem: string | undefined

  constructor(guest: ConfiguredGuest) {
    this.#guest = guest
  }

  /** Why it has failed; undefined if it has not. */
  get problem(): string | undefined {
    return this.#problem
  }

  /**
   * What goes on for what came; empty while the configuration is not whole. Throws XlConfigError;
   * then nothing of the stream has gone on, or ever may.
   */
  take(chunk: Uint8Array): Uint8Array {
    if (this.#isDone) return chunk
    try {
      return this.#take(chunk)
    } catch (error) {
      this.#problem = (error as Error).message
      throw error
    }
  }

  #take(chunk: Uint8Array): Uint8Array {
    this.#held.push(chunk)
    this.#heldBytes += chunk.byteLength
    if (this.#heldBytes < this.#wantedBytes) return new Uint8Array(0)
    const held = Buffer.concat(this.#held)
    this.#held = [held]
    const end = HEAD_BYTES + configLength(held)
    this.#wantedBytes = end
    if (held.byteLength < end) return new Uint8Array(0)
    const changed = this.#change(held.subarray(0, HEAD_BYTES), held.subarray(HEAD_BYTES, end))
    this.#isDone = true
    this.#held = []
    return Buffer.concat([changed, held.subarray(end)])
  }

  #change(head: Buffer, config: Buffer): Buffer {
    const value = parse(config)
    check(value, this.#guest)
    const edits = this.#guest.disks.filter(({ script }) => script !== undefined)
    if (edits.length === 0) return Buffer.concat([head, config])
    checkNumbers(value)
    const changed = Buffer.from(`${JSON.stringify(edit(value, edits))}\0`)
    if (changed.byteLength > CONFIG_BYTES_MAX) throw tooLong(changed.byteLength)
    const result = Buffer.concat([head, changed])
    const optional = head.readUInt32LE(AT.optionalDataLength)
    const length = optional - config.byteLength + changed.byteLength
    result.writeUInt32LE(length, AT.optionalDataLength)
    result.writeUInt32LE(changed.byteLength, AT.configLength)
    return result
  }
}

function configLength(head: Buffer): number {
  if (!head.subarray(0, MAGIC.byteLength).equals(MAGIC)) {
    throw new XlConfigError('xl sends something else than a saved domain: use Xen 4.6 or later')
  }
  if (head.readUInt32LE(AT.byteOrder) !== BYTE_ORDER) {
    throw new XlConfigError('xl sends in a byte order that is not this host’s: use its own xl')
  }
  if ((head.readUInt32LE(AT.mandatoryFlags) & FLAG_JSON) === 0) {
    throw new XlConfigError('xl sends no configuration in JSON: use Xen 4.6 or later')
  }
  const length = head.readUInt32LE(AT.configLength)
  if (length > CONFIG_BYTES_MAX) throw tooLong(length)
  if (length === 0 || length + 4 > head.readUInt32LE(AT.optionalDataLength)) {
    throw new XlConfigError('xl sends a configuration that is cut off: see xl’s own messages')
  }
  return length
}

function tooLong(length: number): XlConfigError {
  const limit = `${CONFIG_BYTES_MAX} is the limit`
  return new XlConfigError(
    `the guest’s configuration has ${length} bytes, ${limit}: make it shorter`,
  )
}

function parse(config: Buffer): unknown {
  const end = config.byteLength - 1
  if (config.indexOf(0) !== end) {
    throw new XlConfigError('the guest’s configuration does not end where it says: see xl list -l')
  }
  let value: unknown
  try {
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    value = JSON.parse(decoder.decode(config.subarray(0, end)))
  } catch (error) {
    const problem = 'the guest’s configuration is no JSON in UTF-8: see xl list -l'
    throw new XlConfigError(problem, { cause: error })
  }
  return value
}

/** What would leave as another number than it came. libxl has integers only, some of 64 bits. */
function checkNumbers(value: unknown): void {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    const problem = `has the number ${value}, which cannot be passed on exactly`
    throw wrong(`${problem}: take it out`)
  }
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(checkNumbers)
}

type Fields = Record<string, unknown>

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

const disksOf = (config: unknown): readonly unknown[] =>
  isFields(config) && Array.isArray(config.disks) ? config.disks : []

/** That it is the session's guest, with the session's disks, each of them once, and no other. */
function check(config: unknown, { domain, disks, readOnly }: ConfiguredGuest): void {
  const left = new Map(disks.map(disk => [disk.vdev, disk]))
  for (const disk of disksOf(config)) {
    const { vdev, pdev_path: path, readwrite = 0 } = isFields(disk) ? disk : {}
    const own = left.get(vdev as string)
    left.delete(vdev as string)
    if (own !== undefined) {
      if (own.script !== undefined || path === own.target) continue
      const remedy = `if it is that there, say so with --disk ${own.vdev}=${said(path)}`
      throw wrong(`has ${said(path)} as disk ${own.vdev}, and not ${own.target}: ${remedy}`)
    }
    if (readOnly.includes(vdev as string) && readwrite === 0) continue
    const remedy = 'begin again if the guest has it, or take it out of the file that -C names'
    throw wrong(`has a disk ${said(vdev)} that this session does not copy: ${remedy}`)
  }
  for (const vdev of left.keys()) {
    throw wrong(`has no disk ${vdev}: give it one in the configuration that xl sends`)
  }
  // What comes under another name is not let in there.
  const info = isFields(config) && isFields(config.c_info) ? config.c_info : {}
  if (info.name === domain) return
  throw wrong(`calls it ${said(info.name)}, and not ${domain}: begin again, under one name`)
}

const wrong = (problem: string): XlConfigError =>
  new XlConfigError(`the guest’s configuration ${problem}`)

const said = (value: unknown): string => String(value).slice(0, SAID_MAX)

function edit(config: unknown, edits: readonly ConfigDisk[]): unknown {
  const disks = disksOf(config).filter(isFields)
  for (const { vdev, script, target } of edits) {
    // libxl takes a script with these only; it would find both out by itself for a path of its own.
    const changed = { pdev_path: target, backend: 'phy', format: 'raw', script }
    Object.assign(disks.find(one => one.vdev === vdev)!, changed)
  }
  return config
}
