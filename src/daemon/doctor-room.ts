/** Whether a guest has room on this host, and whether this host reaches the other one's exports. */
import { once } from 'node:events'
import { stat, statfs } from 'node:fs/promises'
import net, { type AddressInfo } from 'node:net'
import { runCommand } from '../host/run-command.ts'
import type { DiskPlace } from './host.ts'
import { messageOf, type SessionContext } from './session-context.ts'
import type { Finding } from './session-status.ts'

const XL_MS_MAX = 15_000
const CONNECT_MS_MAX = 5000
/** How long a port is open for somebody to try it. */
const TRIAL_MS_MAX = 20_000
const MIB = 1024 * 1024
/** Of stat(2), bytes. */
const STAT_BLOCK = 512

/** Memory that a domain may have (MiB); undefined if xenstore does not say. */
export async function memoryOf(
  { host }: SessionContext,
  domid: number,
): Promise<number | undefined> {
  const kibibytes = await host.xenstore.read(`/local/domain/${domid}/memory/static-max`)
  return /^\d+$/.test(kibibytes ?? '') ? Math.ceil(Number(kibibytes) / 1024) : undefined
}

/** `needed` in MiB. */
export async function lookAtMemory(needed: number): Promise<Finding> {
  const name = 'memory'
  try {
    const { stdout } = await runCommand(['xl', 'info', 'free_memory'], { timeoutMs: XL_MS_MAX })
    if (!/^\d+$/.test(stdout.trim())) throw new Error(`xl says ${JSON.stringify(stdout)}`)
    return memoryFinding(needed, Number(stdout))
  } catch (error) {
    const remedy = 'make `xl info free_memory` work'
    return { name, state: 'bad', found: messageOf(error), remedy }
  }
}

/** In MiB. Pure. */
export function memoryFinding(needed: number, free: number): Finding {
  const found = `${needed} MiB are needed, ${free} MiB are free`
  if (free >= needed) return { name: 'memory', state: 'good', found }
  const remedy = 'unless dom0 gives some of its own (autoballoon), free some: xl mem-set, xl list'
  return { name: 'memory', state: 'warning', found, remedy }
}

/** A sparse file may run out of space when it is written to; undefined for a device. */
export async function lookAtSpace(disk: string, place: DiskPlace): Promise<Finding | undefined> {
  if (!place.isFile) return undefined
  const [{ bavail, bsize }, { blocks }] = await Promise.all([statfs(place.path), stat(place.path)])
  return spaceFinding(disk, place.size - blocks * STAT_BLOCK, bavail * bsize)
}

/** In bytes. Pure. */
export function spaceFinding(disk: string, missing: number, free: number): Finding | undefined {
  if (missing <= free) return undefined
  const [grow, left] = [Math.ceil(missing / MIB), Math.floor(free / MIB)]
  const found = `may grow by ${grow} MiB, ${left} MiB are free`
  const remedy = 'free space there, unless most of the disk is holes'
  return { name: `space for ${disk}`.slice(0, 64), state: 'warning', found, remedy }
}

/**
 * Listens as an export would, until the other host has tried it once, or for a while. Rejects if it
 * cannot.
 */
export async function openTrialPort({ host }: SessionContext): Promise<number> {
  const wanted = await host.exportPorts.take()
  const server = net.createServer(socket => {
    socket.destroy()
    end()
  })
  const timer = setTimeout(() => end(), TRIAL_MS_MAX).unref()
  const end = (): void => {
    clearTimeout(timer)
    if (server.listening) server.close()
    host.exportPorts.giveBack(wanted)
  }
  server.listen(wanted, '0.0.0.0')
  try {
    await once(server, 'listening')
  } catch (error) {
    end()
    throw error
  }
  // Of a connection that cannot be accepted: whoever tries it will say so.
  server.on('error', () => {})
  server.unref()
  return (server.address() as AddressInfo).port
}

/** What is found if there is no port to try. */
export function noPort(error: unknown): Finding {
  const remedy = 'wait for the sessions that have them, or correct the file'
  return { name: 'port', state: 'bad', found: messageOf(error), remedy }
}

/** Whether a port that the other host has just opened is reached from here. */
export async function tryPort(address: string, port: number): Promise<Finding> {
  const name = 'port'
  const socket = net.connect({ host: address, port, timeout: CONNECT_MS_MAX })
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', () => resolve())
      socket.once('error', reject)
      socket.once('timeout', () => reject(new Error(`no answer in ${CONNECT_MS_MAX / 1000} s`)))
    })
    return { name, state: 'good', found: `disks can go to ${address}:${port}` }
  } catch (error) {
    const found = `${address}:${port} is not reached: ${messageOf(error)}`
    const remedy = 'let the ports in /etc/blkferry/ports there through, or migrate with --tunnel'
    return { name, state: 'bad', found, remedy }
  } finally {
    socket.destroy()
  }
}
