/**
 * The table of this host's disks, one `NAME PATH` a line: what a guest's configuration calls a
 * disk, and where it is here. A name with a slash in front needs no line, it is the path. Read anew
 * for each question, so that a change needs no restart.
 */
import { readFileSync } from 'node:fs'
import { ControlError } from '../control/control-error.ts'

export const DISK_TABLE = '/etc/blkferry/disks'

/** Absolute path of the device or file. Throws `ControlError` refused. */
export function pathOfDisk(disk: string, file: string = DISK_TABLE): string {
  if (disk.startsWith('/')) return disk
  const path = readTable(file).get(disk)
  if (path !== undefined) return path
  const remedy = `add a line "${disk} /dev/..." to ${file}`
  throw ControlError.refuse('refused', `disk ${disk} is not known on this host: ${remedy}`)
}

function readTable(file: string): Map<string, string> {
  let content: string
  try {
    content = readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Map()
    throw error
  }
  const table = new Map<string, string>()
  content.split('\n').forEach((line, index) => {
    const [, name, path] = /^\s*([^\s#]\S*)\s+(\/.*?)\s*$/.exec(line) ?? []
    if (name !== undefined && path !== undefined && !table.has(name)) table.set(name, path)
    else if (!/^\s*(#.*)?$/.test(line)) {
      const problem = `${file} line ${index + 1} is no "NAME /PATH", or repeats a name`
      throw ControlError.refuse('refused', `${problem}: correct it`)
    }
  })
  return table
}
