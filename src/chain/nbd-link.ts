/** A kernel nbd device over a running proxy. */
import { readdirSync, readFileSync } from 'node:fs'
import type { KernelNbd } from '../host/kernel-nbd.ts'
import { closeNbdSocket, type NbdSocket } from '../host/nbd-socket.ts'
import { DiskPathError } from './disk-path.ts'

/**
 * The kernel's own timers stay out of it: a request waits for as long as the proxy takes, and one
 * that meets a dead connection fails at once, which the multipath device above turns into waiting.
 */
const TIMEOUTS = { timeoutSeconds: 0, deadConnectionSeconds: 0 }

export interface NbdLink {
  readonly index: number
  /** `major:minor` of the device. */
  readonly numbers: string
}

export interface NbdLinkOptions {
  /** Expected of the server (bytes). */
  readonly size: number
  /** Logical, and the same as that of the guest's device (bytes). */
  readonly blockSize: number
  /** By which the device is found again. */
  readonly identifier: string
}

/** Takes the socket, whatever comes of it. */
export async function connectLink(
  nbd: KernelNbd,
  socket: NbdSocket,
  { size, blockSize, identifier }: NbdLinkOptions,
): Promise<NbdLink> {
  try {
    if (socket.size !== size) {
      const problem = `the proxy serves ${socket.size} bytes where the guest's device has ${size}`
      throw new DiskPathError('proxy', problem)
    }
    const index = await nbd.connect({
      size,
      blockSize,
      serverFlags: socket.flags,
      fds: [socket.fd],
      identifier,
      ...TIMEOUTS,
    })
    return { index, numbers: readFileSync(`/sys/block/nbd${index}/dev`, 'utf8').trim() }
  } finally {
    closeNbdSocket(socket)
  }
}

/** Indices of connected devices with this identifier. */
export function linksOf(identifier: string): number[] {
  return readdirSync('/sys/block')
    .filter(name => /^nbd\d+$/.test(name) && backendOf(name) === identifier)
    .map(name => Number(name.slice(3)))
}

function backendOf(name: string): string | undefined {
  try {
    return readFileSync(`/sys/block/${name}/backend`, 'utf8').trim()
  } catch {
    // Not connected, or gone meanwhile.
    return undefined
  }
}
