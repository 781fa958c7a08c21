/** What is looked at before a session touches anything at the source: the guest and its disks. */
import { ControlError } from '../control/control-error.ts'
import type { Domain } from '../host/xl.ts'
import { describe, type Holding } from '../migration/roles.ts'
import type { ConfigDisk, ConfiguredGuest } from '../migration/xl-config.ts'
import { checkOtherNames } from './admission.ts'
import type { Toolstack } from './host.ts'
import { refuse, type SessionContext } from './session-context.ts'
import { type RecordedDisk, targetOf } from './session-record.ts'
import { SESSION_DISKS_MAX } from './session-status.ts'
import { foreignDisksOf, isOn, type Vbd, vbdsOf } from './vbds.ts'

export interface FoundDisk extends RecordedDisk {
  readonly blockSize: number
  /** The guest's device, by name. */
  readonly device: string
  readonly isPrepared: boolean
}

export interface FoundGuest {
  readonly domid: number
  readonly domain: string
  /** What stays of it when it is renamed. */
  readonly uuid?: string | undefined
  readonly disks: readonly FoundDisk[]
}

/** Name of the hotplug script, as it stands in a guest's configuration. */
export const SCRIPT = 'block-ferry'
/** Of a disk whose configuration names none. */
const STOCK_SCRIPT = 'block'
/** Of a disk after its first claim. */
const CLAIMED_EPOCH = 1
const REMEDY = `give it script=${SCRIPT} in the guest's configuration and start the guest again`

/** `domain`: as xl reads it, for which digits are a number, and never a name. */
const findTyped = (toolstack: Toolstack, domain: string): Promise<Domain | undefined> =>
  /^\d+$/.test(domain) ? toolstack.findById(Number(domain)) : toolstack.find(domain)

/** Throws `ControlError` refused with what is in the way. */
export async function findGuest(context: SessionContext, domain: string): Promise<FoundGuest> {
  const { host } = context
  const found = await findTyped(host.toolstack, domain)
  if (found === undefined) throw refuse(`there is no domain ${domain} on this host: see xl list`)
  const { domid, name, uuid } = found
  if (name.endsWith('--incoming') || name.endsWith('--migratedaway')) {
    throw refuse(`domain ${name} is on its way already: see blkferry status`)
  }
  const vbds = await copiedDisksOf(context, found)
  if (vbds.length === 0) throw refuse(`domain ${name} has no disk: use xl migrate`)
  if (vbds.length > SESSION_DISKS_MAX) {
    throw refuse(`domain ${name} has ${vbds.length} disks, ${SESSION_DISKS_MAX} is the limit`)
  }
  const disks = await Promise.all(vbds.map(vbd => findDisk(context, vbd)))
  return { domid, domain: name, uuid, disks }
}

/** Throws `ControlError` refused if it writes to others as well. */
async function copiedDisksOf(
  { host }: SessionContext,
  { domid }: Pick<Domain, 'domid'>,
): Promise<Vbd[]> {
  const foreign = (await foreignDisksOf(host.xenstore, domid)).find(disk => !disk.isReadOnly)
  if (foreign !== undefined) {
    const problem = `disk ${foreign.vdev} is served by QEMU or a driver domain`
    const remedy = `take it away with xl block-detach, or put it under ${SCRIPT}`
    throw refuse(`${problem}, and would not be copied: ${remedy}`)
  }
  return await vbdsOf(host.xenstore, domid)
}

/** Hours later: throws `ControlError` refused unless it is this guest still, with these disks. */
export async function checkUnchanged(context: SessionContext, guest: FoundGuest): Promise<void> {
  const { domid, domain, disks } = guest
  const again = 'begin the migration again'
  const found = await context.host.toolstack.findById(domid)
  if (found === undefined) throw refuse(`domain ${domain} is gone: start it, and ${again}`)
  if (found.name !== domain) {
    throw refuse(`domain ${domain} was called ${found.name} meanwhile: ${again}`)
  }
  const vbds = await copiedDisksOf(context, guest)
  for (const { vdev, disk } of vbds) {
    if (disks.some(one => one.vdev === vdev && one.disk === disk)) continue
    throw refuse(`domain ${domain} was given disk ${vdev}, ${disk}, meanwhile: ${again}`)
  }
  const missing = disks.find(({ vdev }) => !vbds.some(vbd => vbd.vdev === vdev))
  if (missing === undefined) return
  throw refuse(`disk ${missing.vdev} was taken from domain ${domain} meanwhile: ${again}`)
}

async function findDisk(context: SessionContext, vbd: Vbd): Promise<FoundDisk> {
  const { vdev, script } = vbd
  const name = script.slice(script.lastIndexOf('/') + 1)
  if (name === SCRIPT) return await findPrepared(context, vbd)
  if (name === '' || name === STOCK_SCRIPT) return await findPlain(context, vbd)
  throw refuse(`disk ${vdev} is not under blkferry, its script is ${script}: ${REMEDY}`)
}

/** blkferry has made its device. */
async function findPrepared({ host, journal }: SessionContext, vbd: Vbd): Promise<FoundDisk> {
  const { vdev, disk } = vbd
  const holding = journal.holding(disk)
  checkOwner(disk, holding)
  const device = await host.devices.find(disk)
  if (device === undefined || vbd.device !== `${device.major}:${device.minor}`) {
    const problem = `disk ${vdev} is on device ${vbd.device ?? 'none'}, not on the one made for it`
    throw refuse(`${problem}: start the guest again`)
  }
  const { size, blockSize } = await host.devices.place(disk)
  const { epoch } = holding
  return { vdev, disk, size, blockSize, epoch, device: device.name, isPrepared: true }
}

/** The stock script has given the guest what a path leads to; that can be moved if it is of dm. */
async function findPlain({ host, journal }: SessionContext, vbd: Vbd): Promise<FoundDisk> {
  const { vdev, disk } = vbd
  if (!disk.startsWith('/')) {
    throw refuse(`disk ${vdev} is given as ${disk}, which is no absolute path: ${REMEDY}`)
  }
  const device = vbd.device && (await host.plainDevices.find(vbd.device))
  if (!device) {
    const problem = `disk ${vdev}, ${disk}, is no device of device-mapper, as those of LVM are`
    throw refuse(`${problem}: ${REMEDY}, or put it on LVM`)
  }
  const place = await host.devices.place(disk)
  if (place.numbers !== vbd.device) {
    const problem = `disk ${vdev} is on device ${vbd.device}, and ${disk} leads to another now`
    throw refuse(`${problem}: start the guest again`)
  }
  const other = (await vbdsOf(host.xenstore)).find(
    one => one.path !== vbd.path && one.device !== undefined && isOn(one, disk, place),
  )
  if (other !== undefined) {
    const problem = `disk ${disk} is in use by domain ${other.domid} as ${other.vdev} as well`
    throw refuse(`${problem}: take it from one of them`)
  }
  const holding = journal.holding(disk)
  const isUnknown = holding.role === 'none' && holding.epoch === 0
  if (!isUnknown) checkOwner(disk, holding)
  checkOtherNames({ host, journal }, disk)
  const obstacle = await host.plainDevices.obstacleOf(device)
  if (obstacle !== undefined)
    throw refuse(`disk ${vdev} is on ${device}, but ${obstacle}: ${REMEDY}`)
  const { size, blockSize } = place
  const epoch = isUnknown ? CLAIMED_EPOCH : holding.epoch
  return { vdev, disk, size, blockSize, epoch, device, isPrepared: false }
}

function checkOwner(disk: string, holding: Holding): void {
  const { role, session } = holding
  if (role === 'owner' && session === undefined) return
  const what = `disk ${disk} is ${describe(holding)} on this host, and only an owner's can be moved`
  const isFree = role === 'none'
  throw refuse(`${what}: ${isFree ? `blkferry claim ${disk}, if it is` : 'see blkferry status'}`)
}

/**
 * Disks that nobody knew so far: the guest runs on them, so that they are this host's. Throws
 * JournalError.
 */
export function claimUnknown({ journal }: SessionContext, { disks }: FoundGuest): void {
  const unknown = disks.filter(({ disk }) => journal.holding(disk).role === 'none')
  const changes = unknown.map(({ disk }) => ({ disk }))
  if (changes.length > 0) journal.apply('claim', changes)
}

/** Each disk of `targets` has that name at the destination. Throws `ControlError` refused. */
export function withTargets(
  guest: FoundGuest,
  targets: readonly { readonly vdev: string; readonly target: string }[],
): FoundGuest {
  for (const { vdev } of targets) {
    if (guest.disks.some(disk => disk.vdev === vdev)) continue
    const there = guest.disks.map(disk => disk.vdev).join(', ')
    throw refuse(`domain ${guest.domain} has no disk ${vdev}: it has ${there}`)
  }
  const disks = guest.disks.map(disk => {
    const found = targets.find(({ vdev }) => vdev === disk.vdev)
    return found === undefined ? disk : { ...disk, target: found.target }
  })
  const names = disks.map(targetOf)
  const double = names.find((name, index) => names.indexOf(name) !== index)
  if (double === undefined) return { ...guest, disks }
  throw refuse(`two disks would be ${double} at the destination: give each a place of its own`)
}

/** What is to be in the configuration that xl sends: there, ours is the script of all disks. */
export async function configuredGuest(
  { host }: SessionContext,
  { domid, domain, disks }: FoundGuest,
): Promise<ConfiguredGuest> {
  const foreign = await foreignDisksOf(host.xenstore, domid)
  return {
    domain,
    disks: disks.map(configDisk),
    readOnly: foreign.filter(disk => disk.isReadOnly).map(({ vdev }) => vdev),
  }
}

function configDisk(found: FoundDisk): ConfigDisk {
  const { vdev, disk, isPrepared } = found
  const target = targetOf(found)
  return { vdev, target, ...(!(isPrepared && target === disk) && { script: SCRIPT }) }
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
