/**
 * libxl's hotplug contract (xen, docs/misc/block-scripts.txt): `add` gives blkback a device and
 * says so in xenstore, or says why not; `remove` undoes it. A disk is added only on the host that
 * owns it, or, while it is coming here, once the source has sealed it. Both may be called again at
 * any time, and for several disks at once; calls for the same disk wait for each other.
 */
import type { Logger } from 'pino'
import { ControlError } from '../control/control-error.ts'
import { describe } from '../migration/roles.ts'
import { checkOtherNames, qemuUserOf } from './admission.ts'
import type { GuestDevice, Host } from './host.ts'
import type { HostJournal } from './host-journal.ts'
import { HOTPLUG_MS_MAX } from './messages.ts'
import { Turns, within } from './turns.ts'
import { hexadecimal, isOn, type Vbd, vbdsOf } from './vbds.ts'

/** What sessions have to do with adding and removing. */
export interface HotplugSessions {
  /**
   * The disk is coming to this host: settles with its device once the source has sealed it.
   */
  receive(session: string, disk: string, domid: number): Promise<GuestDevice>
  /** The guest lets go of the disk: whatever is in its path has to go first. */
  leave(disk: string, domid: number): Promise<void>
}

/** Time for the answer to travel, and for the sentence to be written. */
const MARGIN_MS = 3000

export class Hotplug {
  readonly #host: Host
  readonly #journal: HostJournal
  readonly #sessions: HotplugSessions
  readonly #log: Logger
  readonly #turns = new Turns()

  constructor(host: Host, journal: HostJournal, sessions: HotplugSessions, log: Logger) {
    this.#host = host
    this.#journal = journal
    this.#sessions = sessions
    this.#log = log
  }

  /** Throws `ControlError`; the sentence stands in xenstore, too. */
  async add(path: string): Promise<{ device: string }> {
    const vbd = await this.#vbd(path)
    const { xenstore } = this.#host
    try {
      const work = this.#turns.take(vbd.disk, () => this.#device(vbd))
      const device = await within(HOTPLUG_MS_MAX - MARGIN_MS, work, () =>
        ControlError.refuse('timeout', `disk ${vbd.disk} took too long: see the daemon's log`),
      )
      const numbers = hexadecimal(device)
      const nodes = {
        [`${path}/physical-device-path`]: device.node,
        [`${path}/hotplug-status`]: 'connected',
      }
      // blkback complains of a second write, and ignores it.
      const isThere = vbd.device === `${device.major}:${device.minor}`
      await xenstore.write(isThere ? nodes : { [`${path}/physical-device`]: numbers, ...nodes })
      this.#log.info({ disk: vbd.disk, vdev: vbd.vdev, device: device.node }, 'disk added')
      return { device: device.node }
    } catch (error) {
      const message = (error as Error).message
      this.#log.error({ err: error, disk: vbd.disk }, 'disk not added')
      await xenstore
        .write({ [`${path}/hotplug-error`]: message, [`${path}/hotplug-status`]: 'error' })
        .catch(late => this.#log.warn({ err: late }, 'hotplug-error not written'))
      throw error
    }
  }

  async #device(vbd: Vbd): Promise<GuestDevice> {
    const { disk, domid } = vbd
    const { role, session, epoch } = this.#journal.holding(disk)
    if (role === 'incoming' && session !== undefined) {
      return await this.#sessions.receive(session, disk, domid)
    }
    const known = await this.#host.devices.find(disk)
    if (known === undefined || vbd.device === undefined) await this.#checkUnused(vbd)
    checkOtherNames({ host: this.#host, journal: this.#journal }, disk)
    if (role === 'none' && epoch === 0) this.#journal.apply('claim', [{ disk }])
    else if (role !== 'owner' || session !== undefined) throw notOurs(vbd, this.#journal)
    return await this.#host.devices.make(disk)
  }

  async #checkUnused({ disk, domid, path }: Vbd): Promise<void> {
    const { devices, xenstore } = this.#host
    const user = (await devices.userOf(disk)) ?? (await qemuUserOf(this.#host, disk))
    if (user !== undefined) {
      throw ControlError.refuse('refused', `disk ${disk} is in use by ${user}: free it first`)
    }
    const place = await devices.place(disk)
    const others = (await vbdsOf(xenstore)).filter(
      other => other.path !== path && other.device !== undefined && isOn(other, disk, place),
    )
    // pygrub lets dom0 have a disk for a moment; a guest that reboots has its own twice at most.
    const other = others.find(one => one.domid !== 0 && one.domid !== domid)
    if (other === undefined) return
    const problem = `disk ${disk} is in use by domain ${other.domid} as ${other.vdev}`
    throw ControlError.refuse('refused', `${problem}: shut that one down first`)
  }

  async remove(path: string): Promise<void> {
    const vbd = await this.#vbd(path)
    if (vbd.disk === '') return
    const { disk, domid } = vbd
    await this.#turns.take(disk, async () => {
      await this.#sessions.leave(disk, domid)
      const others = await vbdsOf(this.#host.xenstore)
      const isShared = others.some(
        other => other.path !== path && other.disk === disk && other.device !== undefined,
      )
      if (!isShared) await this.#host.devices.remove(disk)
    })
    this.#log.info({ disk, vdev: vbd.vdev }, 'disk removed')
  }

  async #vbd(path: string): Promise<Vbd> {
    const [, domid] = /^backend\/vbd\/(\d+)\/\d+$/.exec(path) ?? []
    if (domid === undefined) {
      const problem = `${JSON.stringify(path)} is no path of a disk: it is XENBUS_PATH of libxl`
      throw ControlError.refuse('invalid', problem)
    }
    const all = await vbdsOf(this.#host.xenstore, Number(domid))
    const found = all.find(one => one.path === path)
    if (found !== undefined) return found
    throw ControlError.refuse('refused', `there is no ${path} in xenstore: libxl makes it`)
  }
}

function notOurs({ disk }: Vbd, journal: HostJournal): ControlError {
  const holding = journal.holding(disk)
  const remedies: Readonly<Record<string, string>> = {
    none: `it was moved or released; if it really is to run here: blkferry claim ${disk}`,
    owner: `session ${holding.session} has not settled: wait, or see blkferry status`,
    sealed: `session ${holding.session} is handing it over: wait, or see blkferry status`,
    'given-away': 'its guest runs on the other host: start it there',
  }
  const what = `disk ${disk} is ${describe(holding)} on this host`
  return ControlError.refuse('refused', `${what}: ${remedies[holding.role] ?? 'see its status'}`)
}
