/** Makes a disk path out of the host's parts. */
import type { DiskPath, DiskPathOptions } from './disk-path.ts'

/** Looks at the device and changes nothing. Throws DiskPathError `device` if it cannot be used. */
export async function openDiskPath(_options: DiskPathOptions): Promise<DiskPath> {
  throw new Error('not here yet')
}
