/**
 * Opens /dev/mapper/control, making the node where no udev has made it. The ioctls run on libuv's
 * thread pool, because the kernel may hold one for long; four of them held is all that the pool has
 * unless UV_THREADPOOL_SIZE says more.
 */
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { check } from '../io/libc.ts'
import { ioctlAsync, makeDeviceNode } from '../io/libc-control.ts'
import type { DmControl } from './device-mapper.ts'
import { DeviceMapperError } from './dm-error.ts'

const MISC_MAJOR = 10

/** Throws DeviceMapperError `missing`, or with the errno's name. */
export function openControl(path = '/dev/mapper/control', miscPath = '/proc/misc'): DmControl {
  let fd: number
  try {
    fd = openOrMake(path, miscPath)
  } catch (error) {
    if (error instanceof DeviceMapperError) throw error
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown'
    throw new DeviceMapperError('open', undefined, code, `${path} cannot be opened`, error)
  }
  return {
    ioctl: (request, bytes) => new Promise(resolve => ioctlAsync(fd, request, bytes, resolve)),
    close: () => closeSync(fd),
  }
}

function openOrMake(path: string, miscPath: string): number {
  try {
    return openSync(path, 'r+')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // ENXIO, ENODEV: a node is there, from another kernel or before the module.
    if (code !== 'ENOENT' && code !== 'ENXIO' && code !== 'ENODEV') throw error
    const minor = minorOf('device-mapper', readFileSync(miscPath, 'utf8'))
    if (minor === undefined) {
      const remedy = 'this kernel has no device-mapper; run `modprobe dm_mod`'
      throw new DeviceMapperError('open', undefined, 'missing', remedy, error)
    }
    if (code !== 'ENOENT') throw error
    mkdirSync(dirname(path), { recursive: true })
    check(makeDeviceNode(path, 'character', MISC_MAJOR, minor), `mknod ${path}`)
    return openSync(path, 'r+')
  }
}

/** The minor number of a misc device, from lines as ` 236 device-mapper`. */
export function minorOf(name: string, misc: string): number | undefined {
  const line = misc.split('\n').find(one => one.trim().split(/\s+/)[1] === name)
  return line === undefined ? undefined : Number(line.trim().split(/\s+/)[0])
}
