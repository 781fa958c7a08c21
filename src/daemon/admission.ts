/**
 * What this host's journal says against a disk that comes here, or that a guest is to have here.
 * The journal knows disks by name; what has two names is one disk all the same, so that it is
 * looked at under all of them.
 */
import { describe, type Holding, type Role } from '../migration/roles.ts'
import type { Host } from './host.ts'
import { refuse, type SessionContext } from './session-context.ts'
import { qemuDisksOf } from './vbds.ts'

type Known = Pick<SessionContext, 'host' | 'journal'>

/** Who has the disk by another name in one of these roles must not be joined by anybody. */
const ELSEWHERE: readonly Role[] = ['given-away', 'sealed', 'incoming']

/** Throws `ControlError` refused if it is moving, or has moved away, under another name. */
export function checkOtherNames(known: Known, disk: string): void {
  const other = otherName(known, disk, ELSEWHERE)
  if (other === undefined) return
  const { name, holding } = other
  const what = `disk ${disk} is the same as ${name}, which is ${describe(holding)} on this host`
  const isAway = holding.role === 'given-away'
  const remedy = `if its guest does not run elsewhere, blkferry release ${name}`
  throw refuse(`${what}: ${isAway ? remedy : 'wait, or see blkferry status'}`)
}

/** Throws `ControlError` refused; `epoch`: at the source, if it is known. */
export function checkAdmission(
  known: Known,
  { disk, epoch }: { readonly disk: string; readonly epoch?: number | undefined },
): void {
  const holding = known.journal.holding(disk)
  if (holding.role !== 'none') throw refuse(`disk ${disk} ${objectionTo(disk, holding)}`)
  if (epoch !== undefined && epoch < holding.epoch) {
    const what = `disk ${disk} has been at epoch ${holding.epoch} at the destination`
    const remedy = 'if the guest runs on the newest one all the same, give another name with --disk'
    throw refuse(`${what}, and comes with ${epoch}, an old copy: ${remedy}`)
  }
  // What was here before under this name may be owned by another one since.
  const roles: readonly Role[] = holding.epoch === 0 ? [...ELSEWHERE, 'owner'] : ELSEWHERE
  const other = otherName(known, disk, roles)
  if (other === undefined) return
  const { name } = other
  throw refuse(`disk ${disk}, which is ${name} as well, ${objectionTo(name, other.holding)}`)
}

function objectionTo(disk: string, holding: Holding): string {
  const remedies: Readonly<Record<Role, string>> = {
    none: '',
    owner: `shut its guest down and blkferry release ${disk} there, or correct the name`,
    incoming: 'wait for the end of its session, see blkferry status there',
    sealed: 'wait for the end of its session, see blkferry status there',
    'given-away': `blkferry release ${disk} there, if the old copy is not needed`,
  }
  return `is ${describe(holding)} at the destination: ${remedies[holding.role]}`
}

/** Another name that the journal has, in one of `roles`, for what `disk` is on this host. */
function otherName(
  { host, journal }: Known,
  disk: string,
  roles: readonly Role[],
): { readonly name: string; readonly holding: Holding } | undefined {
  const identity = host.devices.identityOf(disk)
  if (identity === undefined) return undefined
  for (const [name, holding] of journal.disks) {
    if (name === disk || !roles.includes(holding.role)) continue
    if (host.devices.identityOf(name) === identity) return { name, holding }
  }
  return undefined
}

/** The guest that has it through QEMU, of which the kernel's tables say nothing. */
export async function qemuUserOf(
  { xenstore, devices }: Pick<Host, 'xenstore' | 'devices'>,
  disk: string,
): Promise<string | undefined> {
  const identity = devices.identityOf(disk)
  if (identity === undefined) return undefined
  const all = await qemuDisksOf(xenstore)
  const found = all.find(({ path }) => devices.identityOf(path) === identity)
  return found && `domain ${found.domid}, as its ${found.vdev}, by QEMU`
}
