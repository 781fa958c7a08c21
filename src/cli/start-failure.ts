/**
 * Why a disk cannot be served, as a sentence that says what to do. Errors of the proxy are
 * sentences already; only bare errors of the operating system, which it passes on, are translated
 * here.
 */
import { ControlError } from '../control/control-error.ts'
import type { ProxyOptions } from '../proxy/options.ts'
import { ServeError } from '../proxy/serve-error.ts'

const ADVICE: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist: correct the path',
  EACCES: 'may not be opened by this user: run as root, or change its permissions',
  EPERM: 'may not be opened by this user: run as root, or change its permissions',
  EROFS: 'is on a read-only file system: add --read-only',
  EISDIR: 'is a directory: give a block device or a file',
  EBUSY: 'is in use: stop what uses it, or add --held if device-mapper holds it',
  EAGAIN: 'is in use by another process: stop that one first',
  EINVAL: 'cannot be opened like this: try --direct off',
}

/** One sentence for the operator; undefined for anything that no operator caused. */
export function startFailure(error: unknown, { path }: ProxyOptions): string | undefined {
  if (error instanceof ServeError || error instanceof ControlError) return error.message
  if (!(error instanceof Error)) return undefined
  const { code, syscall, address, port } = error as NodeJS.ErrnoException & {
    readonly address?: string
    readonly port?: number
  }
  if (code === undefined || syscall === undefined) return undefined
  if (address !== undefined) {
    const where = port === undefined ? address : `${address}:${port}`
    return `cannot listen on ${where} (${code}): give another --listen, or stop what uses it`
  }
  const { path: which = path } = error as NodeJS.ErrnoException
  const advice = ADVICE[code]
  return advice === undefined ? error.message : `${which} ${advice} (${code})`
}
