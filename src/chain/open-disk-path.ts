/** Makes a disk path out of the host's parts. */
import { mkdirSync } from 'node:fs'
import type { DiskPath, DiskPathOptions } from './disk-path.ts'
import { GuestDevice } from './guest-device.ts'
import { chainNames } from './names.ts'
import { ProxiedPath } from './proxied-path.ts'

/** Looks at the device and changes nothing. Throws DiskPathError `device` if it cannot be used. */
export async function openDiskPath(options: DiskPathOptions): Promise<DiskPath> {
  const { mapper, device, session, disk, runFolder } = options
  const names = chainNames(session, disk, runFolder)
  const guest = await GuestDevice.open(mapper, device)
  mkdirSync(runFolder, { recursive: true, mode: 0o700 })
  return new ProxiedPath(options, guest, names)
}
