/**
 * Where the lab keeps things, all outside the project's tree: the cache, shared by everything on
 * this machine, and one folder for each pair of running hosts, its instance.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'

/** The project's root, from dist/lab/test/lab. */
export const PROJECT = new URL('../../../..', import.meta.url).pathname
export const CACHE = process.env.BLKFERRY_LAB ?? '/var/cache/blkferry-lab'
export const LAB = join(PROJECT, 'test/lab')

export const HOST_NAMES = ['a', 'b'] as const
export type HostName = (typeof HOST_NAMES)[number]

export interface Instance {
  readonly name: string
  /** Disks, consoles and process ids of its two machines. */
  readonly folder: string
  /** Sockets, whose paths must be short. */
  readonly sockets: string
}

/** Makes the folders if need be. Throws RangeError for a name that is none. */
export function openInstance(name: string): Instance {
  if (!/^[a-z0-9-]{1,12}$/.test(name)) {
    throw new RangeError(`instance ${JSON.stringify(name)} should be 1 to 12 of a-z, 0-9 and -`)
  }
  const instance = {
    name,
    folder: join(CACHE, 'instances', name),
    sockets: `/run/blkferry-lab/${name}`,
  }
  mkdirSync(instance.folder, { recursive: true })
  mkdirSync(instance.sockets, { recursive: true, mode: 0o700 })
  return instance
}
