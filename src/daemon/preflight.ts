/** What is looked at before a session touches anything at the source: the guest and its disks. */
import { ControlError } from '../control/control-error.ts'
import { describe } from '../migration/roles.ts'
import { refuse, type SessionContext } from './session-context.ts'
import type { RecordedDisk } from './session-record.ts'
import { SESSION_DISKS_MAX } from './session-status.ts'
import { type Vbd, vbdsOf } from './vbds.ts'

export interface FoundDisk extends RecordedDisk {
  readonly blockSize: number
  /** The guest's device, by name. */
  readonly device: string
}

export interface FoundGuest {
  readonly domid: number
  readonly domain: string
  readonly disks: readonly FoundDisk[]
}

/** Name of the hotplug script, as it stands in a guest's configuration. */
export const SCRIPT = 'block-ferry'

/** Throws `ControlError` refused with what is in the way. */
export async function findGuest(context: SessionContext, domain: string): Promise<FoundGuest> {
  const { host } = context
  const found = await host.toolstack.find(domain)
  if (found === undefined) throw refuse(`there is no domain ${domain} on this host: see xl list`)
  const { domid, name } = found
  if (name.endsWith('--incoming') || name.endsWith('--migratedaway')) {
    throw refuse(`domain ${name} is on its way already: see blkferry status`)
  }
  const vbds = await vbdsOf(host.xenstore, domid)
  if (vbds.length === 0) throw refuse(`domain ${name} has no disk: use xl migrate`)
  if (vbds.length > SESSION_DISKS_MAX) {
    throw refuse(`domain ${name} has ${vbds.length} disks, ${SESSION_DISKS_MAX} is the limit`)
  }
  const disks = await Promise.all(vbds.map(vbd => findDisk(context, vbd)))
  return { domid, domain: name, disks }
}

async function findDisk({ host, journal }: SessionContext, vbd: Vbd): Promise<FoundDisk> {
  const { vdev, disk, script } = vbd
  if (!script.endsWith(`/${SCRIPT}`) && script !== SCRIPT) {
    const remedy = `give it script=${SCRIPT} in the guest's configuration and start it again`
    throw refuse(`disk ${vdev} is not under blkferry, its script is ${script}: ${remedy}`)
  }
  const holding = journal.holding(disk)
  if (holding.role !== 'owner' || holding.session !== undefined) {
    const what = `disk ${disk} is ${describe(holding)} on this host`
    throw refuse(`${what}, and only an owner's can be moved: see blkferry status`)
  }
  const device = await host.devices.find(disk)
  if (device === undefined || vbd.device !== `${device.major}:${device.minor}`) {
    const problem = `disk ${vdev} is on device ${vbd.device ?? 'none'}, not on the one made for it`
    throw refuse(`${problem}: start the guest again`)
  }
  const { size, blockSize } = await host.devices.place(disk)
  return { vdev, disk, size, blockSize, epoch: holding.epoch, device: device.name }
}

/** Throws `ControlError` busy if a session has this guest or one of its disks. */
export function checkFree(
  guest: FoundGuest,
  sessions: Iterable<{ session: string; domain: string; isOver: boolean; has(d: string): boolean }>,
): void {
  for (const one of sessions) {
    if (one.isOver) continue
    const shared = guest.disks.find(({ disk }) => one.has(disk))
    if (one.domain !== guest.domain && shared === undefined) continue
    const what = shared === undefined ? `domain ${guest.domain}` : `disk ${shared.disk}`
    throw ControlError.refuse('busy', `${what} is being moved by session ${one.session}: wait`)
  }
}
