/**
 * What a crash of the daemon leaves: a guest's disk path without anybody who looks after it. It is
 * found by the records in the run folder, which lies on tmpfs: after a reboot neither they nor the
 * devices are there.
 */
import type { Logger } from 'pino'
import type { DeviceMapper } from '../host/device-mapper.ts'
import type { KernelNbd } from '../host/kernel-nbd.ts'
import { Below } from './below.ts'
import { DiskPathError, type DiskPathState } from './disk-path.ts'
import { GuestDevice, sameTable } from './guest-device.ts'
import { chainNames } from './names.ts'
import { type PathRecord, readRecords } from './record.ts'

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

/** Those of all sessions; one for each disk. Throws if the kernel does not say. */
export async function findLeftovers({
  mapper,
  runFolder,
  log,
}: Omit<LeftoverOptions, 'nbd'>): Promise<Leftover[]> {
  const found: Leftover[] = []
  for (const record of readRecords(runFolder, log)) {
    const { session, disk, device } = record
    found.push({ session, disk, device, state: await stateOf(mapper, record) })
  }
  return found
}

/**
 * Ends one, whatever state it is in. `restore` puts the guest's device on its plain disk, where it
 * goes on; `discard` makes its requests fail. Which of them is for the journal to say. May be
 * called again if it throws.
 */
export async function cleanUp(
  { session, disk }: Leftover,
  outcome: 'restore' | 'discard',
  { mapper, nbd, runFolder, log }: LeftoverOptions,
): Promise<void> {
  const record = readRecords(runFolder, log).find(
    one => one.session === session && one.disk === disk,
  )
  if (record === undefined) {
    const problem = `nothing is recorded of disk ${disk} of session ${session} in ${runFolder}`
    throw new DiskPathError('state', problem)
  }
  const names = chainNames(session, disk, runFolder)
  const multipath = await mapper.find(names.multipath)
  const stoodOn = multipath && `${multipath.major}:${multipath.minor}`
  const guest = new GuestDevice(mapper, record.device, record.plain, stoodOn)
  const below = new Below({ mapper, nbd, session, disk, log, proxyCommand: [''] }, guest, names)
  const isThere = (await mapper.find(record.device)) !== undefined
  const settle = async (): Promise<void> => {
    if (isThere) await (outcome === 'restore' ? guest.swapToPlain() : guest.fail())
  }
  await below.adopt()
  await below.bypass(settle)
  await below.remove()
  log.info({ session, disk, outcome }, 'leftover cleaned up')
}

async function stateOf(
  mapper: DeviceMapper,
  { device: name, plain }: PathRecord,
): Promise<DiskPathState | undefined> {
  const device = await mapper.find(name)
  if (device === undefined) return undefined
  if (device.isSuspended) return 'sealed'
  const table = await mapper.table(name)
  if (table.every(({ type }) => type === 'error')) return 'discarded'
  return sameTable(table, plain) ? 'plain' : 'proxied'
}
