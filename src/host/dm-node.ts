/**
 * Where a device-mapper device can be opened. The kernel's own devtmpfs has /dev/dm-N; where there
 * is none, or something else stands in its place, a node is made from the device's numbers.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { check } from '../io/libc.ts'
import { makeDeviceNode } from '../io/libc-control.ts'
import { DeviceMapperError } from './dm-error.ts'
import { numbersOfNode } from './dm-swap.ts'

/** Absolute path of a node of the device; makes one if need be. `folder` is /dev but in tests. */
export function deviceNode(
  device: { readonly name: string; readonly major: number; readonly minor: number },
  folder = '/dev',
): string {
  const { name, major, minor } = device
  const kernels = join(folder, `dm-${minor}`)
  if (isNodeOf(kernels, major, minor)) return kernels
  const ours = join(folder, 'mapper', name.replaceAll('/', '!'))
  if (isNodeOf(ours, major, minor)) return ours
  mkdirSync(join(folder, 'mapper'), { recursive: true })
  rmSync(ours, { force: true })
  check(makeDeviceNode(ours, 'block', major, minor), `mknod ${ours}`)
  return ours
}

function isNodeOf(path: string, major: number, minor: number): boolean {
  try {
    return numbersOfNode(path) === `${major}:${minor}`
  } catch (error) {
    if (error instanceof DeviceMapperError) return false
    throw error
  }
}
