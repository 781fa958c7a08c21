/**
 * Disks of the lab's hosts: device-mapper devices over parts of the second virtual disk, 2 GiB.
 * What lies in between, as a delay, is put there by changing their tables.
 */
import type { Host } from './host.ts'

export const DISK_MIB = 64
const SECTORS = (DISK_MIB * 1024 * 1024) / 512

/** Where part `index` of the second disk begins, in dm's own words. */
export const part = (index: number): string => `/dev/vdb ${2048 + index * SECTORS}`

/** A table of a disk's length that leads to `place`. */
export const over = (place: string): string => `0 ${SECTORS} linear ${place}`

/** Makes /dev/mapper/NAME over part `index`. Returns its path. */
export async function makeDisk(host: Host, name: string, index: number): Promise<string> {
  await host.run(`dmsetup create '${name}' --table '${over(part(index))}'`)
  return `/dev/mapper/${name}`
}

/** Puts another table under a disk; whoever uses it waits meanwhile. */
export async function setTable(host: Host, name: string, table: string): Promise<void> {
  await host.run(`dmsetup load '${name}' --table '${table}' && dmsetup resume '${name}'`)
}

/** Each write takes `writeMs` longer on its way to part `index`. */
export const delayed = (index: number, writeMs: number): string =>
  `0 ${SECTORS} delay ${part(index)} 0 ${part(index)} ${writeMs}`

/** Every request fails. */
export const failing = (): string => `0 ${SECTORS} error`

/** sha256 of the whole disk, read past the page cache. */
export async function checksum(host: Host, path: string): Promise<string> {
  const script = `dd if='${path}' bs=1M iflag=direct status=none | sha256sum`
  return (await host.run(script, { timeoutMs: 120_000 })).slice(0, 64)
}
