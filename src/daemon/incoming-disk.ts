/** One disk at the destination: its export while it is copied, its device afterwards. */
import { randomUUID } from 'node:crypto'
import { checkAdmission, qemuUserOf } from './admission.ts'
import { DiskExport } from './disk-export.ts'
import type { GuestDevice } from './host.ts'
import { refuse, type SessionContext, type SessionFolder } from './session-context.ts'
import type { RecordedDisk } from './session-record.ts'
import { type DiskState, type DiskStatus, restingStatus } from './session-status.ts'
import { isOn, type Vbd, vbdsOf } from './vbds.ts'

export class IncomingDisk implements RecordedDisk {
  readonly vdev: string
  readonly disk: string
  readonly size: number
  readonly epoch: number
  readonly exportName = randomUUID()
  readonly export: DiskExport
  state: DiskState = 'receiving'
  readonly #context: SessionContext
  readonly #identity: string | undefined

  constructor(
    context: SessionContext,
    recorded: RecordedDisk,
    options: {
      readonly path: string
      readonly folder: SessionFolder
      readonly keyFile: string | undefined
      readonly started: () => void
    },
  ) {
    const { vdev, disk, size, epoch } = recorded
    this.vdev = vdev
    this.disk = disk
    this.size = size
    this.epoch = epoch
    this.#context = context
    const { path, folder, keyFile, started } = options
    const logFile = folder.file(`export-${vdev}.log`)
    const { command, exportPorts: ports } = context.host
    const name = this.exportName
    const { log } = context
    const check = (): void => this.#check()
    this.#identity = context.host.devices.identityOf(disk)
    this.export = new DiskExport({
      command,
      path,
      check,
      name,
      keyFile,
      ports,
      logFile,
      log,
      started,
    })
  }

  /** A copy may take hours: the guest must get what was written, wherever the path leads since. */
  #check(): void {
    const { disk } = this
    if (this.#context.host.devices.identityOf(disk) === this.#identity) return
    throw refuse(`disk ${disk} is another one than when the session began: begin a new one`)
  }

  /** Nobody writes through the export any more; the guest's device stands on what it wrote. */
  async take(): Promise<GuestDevice> {
    await this.export.close()
    this.#check()
    const device = await this.#context.host.devices.make(this.disk, this.size)
    this.state = 'sealed'
    return device
  }

  /** Of what was written nothing is needed; after a reboot the disk may not even be there. */
  async discard(): Promise<void> {
    await this.export.end()
    await this.#context.host.devices.remove(this.disk)
    this.state = 'discarded'
  }

  status(): DiskStatus {
    return restingStatus(this)
  }
}

/** The paths of disks that come here. Throws `ControlError` refused for one that does not fit. */
export async function placesFor(
  context: SessionContext,
  disks: readonly { disk: string; size: number; blockSize: number; epoch?: number }[],
): Promise<string[]> {
  const { host } = context
  const vbds = await vbdsOf(host.xenstore)
  return await Promise.all(
    disks.map(async ({ disk, size, blockSize, epoch }) => {
      checkAdmission(context, { disk, epoch })
      const place = await host.devices.place(disk)
      if (place.size < size) {
        const needed = `${size} bytes are needed, ${place.path} has ${place.size}`
        throw refuse(`disk ${disk} is too small at the destination: ${needed}; enlarge it`)
      }
      if (place.blockSize !== blockSize) {
        const blocks = `logical blocks of ${place.blockSize} bytes, the source's has ${blockSize}`
        throw refuse(
          `disk ${disk} cannot take over at the destination: ${place.path} has ${blocks}`,
        )
      }
      if (place.isReadOnly) {
        const remedy = 'make it writable, see blockdev --setrw'
        throw refuse(`disk ${disk} is read-only at the destination: ${place.path}; ${remedy}`)
      }
      const found = await host.devices.find(disk)
      const user = await host.devices.userOf(disk)
      // By the stock script a guest has the place itself, which nothing else of the host shows.
      const vbd = vbds.find(one => one.device !== undefined && isOn(one, disk, place))
      const served = await qemuUserOf(host, disk)
      if (found === undefined && user === undefined && vbd === undefined && served === undefined) {
        return place.path
      }
      const other = served ?? user ?? `${found?.name}, a guest's device`
      const by = vbd === undefined ? other : nameOf(vbd)
      throw refuse(`disk ${disk} is in use at the destination by ${by}: free it first`)
    }),
  )
}

const nameOf = ({ domid, vdev }: Vbd): string => `domain ${domid}, as its ${vdev}`
