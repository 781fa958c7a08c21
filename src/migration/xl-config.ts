/**
 * The guest's configuration on its way between the two xl: a header, then optional data, which
 * begins with the configuration as JSON (tools/xl/xl.h and xl_saverestore.c, the same from Xen 4.6
 * to 4.20). Here some of its disks get another hotplug script, so that the other host adds them by
 * it. Whatever is behind the configuration passes as it is.
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

/** What a disk of the guest is to have at the destination. */
export interface DiskEdit {
  /** As in the guest: xvda. */
  readonly vdev: string
  /** Of the hotplug script. */
  readonly script: string
  /** What the script is told of the disk. */
  readonly target: string
}

/** A sentence that says why a configuration cannot be changed. */
export class XlConfigError extends Error {
  override readonly name = 'XlConfigError'
}

/** One for each stream, from its first byte. */
export class XlConfigRewriter {
  readonly #edits: readonly DiskEdit[]
  #held: Uint8Array[] = []
  #heldBytes = 0
  /** So many bytes have to be there before the next step. */
  #wantedBytes = HEAD_BYTES
  #isDone = false
  #problem: string | undefined

  constructor(edits: readonly DiskEdit[]) {
    this.#edits = edits
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
    const changed = Buffer.from(`${JSON.stringify(edit(parse(config), this.#edits))}\0`)
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
  checkNumbers(value)
  return value
}

/** What would leave as another number than it came. libxl has integers only, some of 64 bits. */
function checkNumbers(value: unknown): void {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    const problem = `has the number ${value}, which cannot be passed on exactly`
    throw new XlConfigError(`the guest’s configuration ${problem}: take it out`)
  }
  if (typeof value === 'object' && value !== null) Object.values(value).forEach(checkNumbers)
}

type Fields = Record<string, unknown>

const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function edit(config: unknown, edits: readonly DiskEdit[]): unknown {
  const disks = isFields(config) && Array.isArray(config.disks) ? config.disks.filter(isFields) : []
  for (const { vdev, script, target } of edits) {
    const disk = disks.find(one => one.vdev === vdev)
    if (disk === undefined) {
      const problem = `has no disk ${vdev}: give it one in the configuration that xl sends`
      throw new XlConfigError(`the guest’s configuration ${problem}`)
    }
    // libxl takes a script with these only; it would find both out by itself for a path of its own.
    Object.assign(disk, { pdev_path: target, backend: 'phy', format: 'raw', script })
  }
  return config
}
