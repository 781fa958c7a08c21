/**
 * What a crash of the daemon leaves: a guest's disk path without anybody who looks after it. It is
 * found by the records in the run folder, which lies on tmpfs: after a reboot neither they nor the
 * devices are there.
 */
import type { Logger } from 'pino'
import type { DeviceMapper } from '../host/device-mapper.ts'
import type { KernelNbd } from '../host/kernel-nbd.ts'
import type { DiskPathState } from './disk-path.ts'

export interface Leftover {
  readonly session: string
  readonly disk: string
  /** Name of the guest's device. */
  readonly device: string
  /** As the kernel has it now; undefined if the guest's device is gone. */
  readonly state: DiskPathState | undefined
}

export interface LeftoverOptions {
  readonly mapper: DeviceMapper
  readonly nbd: KernelNbd
  readonly runFolder: string
  readonly log: Logger
}

/** Those of all sessions; one for each disk. */
export async function findLeftovers(_options: LeftoverOptions): Promise<Leftover[]> {
  throw new Error('not here yet')
}

/**
 * Ends one. `restore` puts the guest's device on its plain disk, where it goes on; `discard` makes
 * its requests fail. Which of them is for the journal to say.
 */
export async function cleanUp(
  _leftover: Leftover,
  _outcome: 'restore' | 'discard',
  _options: LeftoverOptions,
): Promise<void> {
  throw new Error('not here yet')
}
