/**
 * What has to be known of a disk path to undo it when nobody remembers it: written before anything
 * is made, removed when everything is gone. On tmpfs, as the devices are in memory: none of them
 * outlives a reboot.
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { Table } from '../host/dm-table.ts'

export interface PathRecord {
  readonly session: string
  readonly disk: string
  /** Name of the guest's device. */
  readonly device: string
  /** Its table on the disk. */
  readonly plain: Table
}

const EXTENSION = '.path'

/** The file is the old one or the new one, whenever the host dies. */
export function writeRecord(path: string, record: object): void {
  const fresh = `${path}.new`
  const fd = openSync(fresh, 'w', 0o600)
  try {
    writeSync(fd, JSON.stringify(record))
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(fresh, path)
}

/** One that cannot be read is logged and left where it is. Without a folder there are none. */
export function readRecords(runFolder: string, log: Logger): PathRecord[] {
  if (!existsSync(runFolder)) return []
  const names = readdirSync(runFolder).filter(name => name.endsWith(EXTENSION))
  return names.flatMap(name => {
    const path = join(runFolder, name)
    try {
      return [JSON.parse(readFileSync(path, 'utf8')) as PathRecord]
    } catch (error) {
      log.error({ err: error, path }, 'record of a disk path cannot be read')
      return []
    }
  })
}
