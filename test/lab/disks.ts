/**
 * Disks of the lab's hosts: device-mapper devices over parts of the second virtual disk, 2 GiB.
 * What lies in between, as a delay, is put there by changing their tables.
 */
import type { Host } from './host.ts'

export const DISK_MIB = 32
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

/** The same as a file, which takes no room yet. Returns its path. */
export async function makeFile(host: Host, name: string): Promise<string> {
  const path = `/lab/${name}.img`
  await host.run(`truncate -s ${DISK_MIB}M '${path}'`)
  return path
}

/** Puts another table under a disk; whoever uses it waits meanwhile. */
export async function setTable(host: Host, name: string, table: string): Promise<void> {
  const input = `${table}\n`
  await host.run(`dmsetup load '${name}' && dmsetup resume '${name}'`, { input })
}

/** Each write takes `writeMs` longer on its way to part `index`. */
export const delayed = (index: number, writeMs: number): string =>
  `0 ${SECTORS} delay ${part(index)} 0 ${part(index)} ${writeMs}`

/** Half of part `index`. */
export const half = (index: number): string => `0 ${SECTORS / 2} linear ${part(index)}`

/** Part `index`, of which every request to the second half fails. */
export const halfFailing = (index: number): string =>
  `${half(index)}\n${SECTORS / 2} ${SECTORS / 2} error`

/** sha256 of the whole disk, read past the page cache. */
export async function checksum(host: Host, path: string): Promise<string> {
  const script = `dd if='${path}' bs=1M iflag=direct status=none | sha256sum`
  return (await host.run(script, { timeoutMs: 120_000 })).slice(0, 64)
}
