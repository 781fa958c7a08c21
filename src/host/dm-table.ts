/**
 * Device-mapper tables as values: what a device is made of, typed for the three kinds that the
 * migration loads, kept word for word for every other kind so that a logical volume's own table can
 * be put back. The words are those of the kernel (Documentation/admin-guide/device-mapper). A
 * mapping is one line of a table; everything here counts in sectors of 512 bytes, as the kernel
 * does.
 */

/** Bytes of a sector, whatever the device's logical block size. */
export const SECTOR_BYTES = 512

interface Range {
  /** First sector of the guest-visible device that this mapping answers for. */
  readonly start: number
  /** Sectors. */
  readonly length: number
}

/** A piece of another device. */
export interface LinearMapping extends Range {
  readonly type: 'linear'
  /** `major:minor`, or a path when loading; the kernel always answers with numbers. */
  readonly device: string
  /** First sector there. */
  readonly offset: number
}

/** Bios wait in the queue while no path works; one priority group, chosen from in turn. */
export interface MultipathMapping extends Range {
  readonly type: 'multipath'
  readonly paths: readonly string[]
}

/** Fails every bio. */
export interface ErrorMapping extends Range {
  readonly type: 'error'
}

/** Any other line. */
export interface OtherMapping extends Range {
  readonly type: 'other'
  readonly kind: string
  readonly parameters: string
}

export type Mapping = LinearMapping | MultipathMapping | ErrorMapping | OtherMapping
export type Table = readonly Mapping[]

/** A line as the ioctl carries it. */
export interface TableLine extends Range {
  readonly kind: string
  readonly parameters: string
}

/** A table that maps the whole of a device to the start of another. */
export function linearTable(device: string, length: number, offset = 0): Table {
  return [{ type: 'linear', start: 0, length, device, offset }]
}

/** A table that keeps bios waiting, for as long as it takes, while `path` is dead. */
export function multipathTable(path: string, length: number): Table {
  return [{ type: 'multipath', start: 0, length, paths: [path] }]
}

export function errorTable(length: number): Table {
  return [{ type: 'error', start: 0, length }]
}

/** Sectors that a table maps; throws a sentence if it has a gap, an overlap or nothing. */
export function tableLength(table: Table): number {
  let end = 0
  for (const { start, length } of table) {
    if (start !== end || !Number.isSafeInteger(length) || length <= 0) {
      throw new RangeError(`table has a gap or an overlap at sector ${end}; map every sector once`)
    }
    end += length
  }
  if (end === 0) throw new RangeError('table is empty; map every sector once')
  return end
}

/** Devices that a table stands on, in order and once each; those of unknown kinds are not seen. */
export function devicesOf(table: Table): string[] {
  const all = table.flatMap(mapping => {
    if (mapping.type === 'linear') return [mapping.device]
    return mapping.type === 'multipath' ? mapping.paths : []
  })
  return [...new Set(all)]
}

export function formatMapping(mapping: Mapping): TableLine {
  const { start, length } = mapping
  switch (mapping.type) {
    case 'linear': {
      const parameters = `${word(mapping.device)} ${mapping.offset}`
      return { start, length, kind: 'linear', parameters }
    }
    case 'multipath': {
      const paths = mapping.paths.map(path => `${word(path)} 1`).join(' ')
      const group = `round-robin 0 ${mapping.paths.length} 1 ${paths}`
      const parameters = `3 queue_if_no_path queue_mode bio 0 1 1 ${group}`
      return { start, length, kind: 'multipath', parameters }
    }
    case 'error':
      return { start, length, kind: 'error', parameters: '' }
    case 'other':
      return { start, length, kind: mapping.kind, parameters: mapping.parameters }
  }
}

export function parseMapping({ start, length, kind, parameters }: TableLine): Mapping {
  const words = parameters.trim().split(/\s+/)
  const other: Mapping = { type: 'other', start, length, kind, parameters }
  if (kind === 'error') return { type: 'error', start, length }
  if (kind === 'linear') {
    const [device = '', offset = ''] = words
    const isPlain = words.length === 2 && device !== '' && /^\d+$/.test(offset)
    return isPlain ? { type: 'linear', start, length, device, offset: Number(offset) } : other
  }
  if (kind !== 'multipath') return other
  const paths = queueingPaths(words)
  return paths === undefined ? other : { type: 'multipath', start, length, paths }
}

/** The paths of a multipath line if it is one of ours in every word but these. */
function queueingPaths(words: readonly string[]): string[] | undefined {
  const expected = '3 queue_if_no_path queue_mode bio 0 1 1 round-robin 0'.split(' ')
  if (!expected.every((one, index) => words[index] === one)) return undefined
  const [count, perPath, ...rest] = words.slice(expected.length)
  if (perPath !== '1' || rest.length !== Number(count) * 2 || rest.length === 0) return undefined
  return rest.filter((_, index) => index % 2 === 0)
}

function word(text: string): string {
  if (text === '' || /[\s\\\0]/.test(text)) {
    throw new RangeError(`device ${JSON.stringify(text)} has blanks; name it by its major:minor`)
  }
  return text
}
