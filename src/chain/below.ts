/**
 * Everything below the guest's device while it is proxied:
 *
 *   multipath -> /dev/nbdN -> proxy -> fence -> disk
 *
 * and the three moves of it: make, put another proxy in, do without. None of them touches the
 * guest's own device. One at a time; the caller sees to that.
 */
import { existsSync, rmSync } from 'node:fs'
import type { DeviceMapper } from '../host/device-mapper.ts'
import { logicalBlockSize } from '../host/dm-swap.ts'
import type { KernelNbd } from '../host/kernel-nbd.ts'
import { DiskPathError, type DiskPathOptions } from './disk-path.ts'
import { FenceDevice } from './fence-device.ts'
import { endForeign } from './foreign-process.ts'
import type { GuestDevice } from './guest-device.ts'
import { MultipathDevice } from './multipath-device.ts'
import { type ChainNames, filesOf } from './names.ts'
import { connectLink, linksOf, type NbdLink } from './nbd-link.ts'
import { pause, settlesWithin } from './pause.ts'
import { ProxyProcess } from './proxy-process.ts'
import { writeRecord } from './record.ts'

/** For others to close what they opened, as udev does (ms). */
export const REMOVE_MS_MAX = 3000

/** After that the guest's device has stopped sending, and the disk has answered (ms). */
const SETTLE_MS = 50

/** From the start of the first proxy to its first answer (ms). */
const READY_MS_MAX = 120_000
/** The same of one that the guest waits for: sooner or later it is better off on its plain disk. */
const REPLACED_MS_MAX = 15_000
/** For the next proxy to load everything, with no guest on the first one yet (ms). */
const STANDBY_MS_MAX = 180_000

/** What is needed of a disk path's options. */
type BelowOptions = Pick<
  DiskPathOptions,
  'mapper' | 'nbd' | 'session' | 'disk' | 'proxyCommand' | 'log'
>

interface Served {
  readonly proxy: ProxyProcess
  readonly link: NbdLink
}

export class Below {
  readonly #options: BelowOptions
  readonly #guest: GuestDevice
  readonly #names: ChainNames
  readonly #fence: FenceDevice
  readonly multipath: MultipathDevice
  #served: Served | undefined
  /** Waits to take over; a process takes longer to start than a guest should wait. */
  #standby: ProxyProcess | undefined

  constructor(options: BelowOptions, guest: GuestDevice, names: ChainNames) {
    const { mapper } = options
    this.#options = options
    this.#guest = guest
    this.#names = names
    this.#fence = new FenceDevice(mapper, names.fence, guest.plain)
    this.multipath = new MultipathDevice(mapper, names.multipath, guest.sectors)
  }

  /** The proxy in the path. */
  get proxy(): ProxyProcess | undefined {
    return this.#served?.proxy
  }

  /** Throws DiskPathError `device` if something of these names is there already. */
  async checkNames(): Promise<void> {
    const { fence, multipath, bypass, record } = this.#names
    for (const name of [fence, multipath, bypass]) {
      if ((await this.#options.mapper.find(name)) === undefined && !existsSync(record)) continue
      const problem = `${name} or its record is left of an earlier time; clean up first`
      throw new DiskPathError('device', problem)
    }
  }

  /** Makes it all; returns what the guest's device is to stand on. Call `remove` if it throws. */
  async make(): Promise<string> {
    this.#record()
    await this.#fence.create()
    this.#served = await this.#serve(READY_MS_MAX)
    const numbers = await this.multipath.create(this.#served.link.numbers)
    await this.#awaitNext()
    return numbers
  }

  /** The guest's requests wait until it settles. If it throws, call `bypass`. */
  async replaceProxy(): Promise<void> {
    const times = new Times()
    await this.#putDown()
    times.add('put down')
    await this.#fence.reopen()
    times.add('reopen')
    this.#served = await this.#serve(REPLACED_MS_MAX, times)
    await this.multipath.pointAt(this.#served.link.numbers)
    times.add('point')
    this.#options.log.info(times.all, 'proxy replaced')
  }

  /** Takes over what a former daemon has made; all that can be done with it is to end it. */
  async adopt(): Promise<void> {
    await endForeign(this.#names.control)
  }

  /**
   * The disk itself in place of a proxy, so that it answers what waits here. `takeOff` is to take
   * the guest's device off all this; it settles only when everything in flight is answered, and is
   * begun when most is. The last step makes a request that the disk refuses fail for the guest as
   * well. No other may be around then: a path that has failed refuses everything. May be called
   * again if it throws.
   */
  async bypass(takeOff: () => Promise<void>): Promise<void> {
    await this.#putDown()
    const path = await this.#makeBypass()
    const isThere = (await this.#options.mapper.find(this.#names.multipath)) !== undefined
    if (isThere) await this.multipath.pointAt(path)
    const takenOff = takeOff()
    // Its failure is ours to report, but later.
    takenOff.catch(() => {})
    if (isThere) {
      await pause(SETTLE_MS)
      await this.multipath.pointAt(path)
      await pause(SETTLE_MS)
      await this.multipath.giveUpAt(path)
    }
    await takenOff
  }

  async #makeBypass(): Promise<string> {
    const { mapper } = this.#options
    const { bypass } = this.#names
    const uuid = `BLKFERRY-${bypass}`
    const found = await mapper.find(bypass)
    const { major, minor } = found ?? (await mapper.create(bypass, this.#guest.plain, { uuid }))
    return `${major}:${minor}`
  }

  /**
   * All of it, as far as it is there. The guest's device must not stand on it any more.
   * `keepsLog`: the last words of the proxies are wanted.
   */
  async remove(options: { readonly keepsLog?: boolean } = {}): Promise<void> {
    const { mapper, nbd } = this.#options
    await removeDevice(mapper, this.#names.multipath)
    await disconnectAll(nbd, this.#names.identifier)
    await Promise.all([this.#served?.proxy.stop(), this.#standby?.kill()])
    this.#served = undefined
    this.#standby = undefined
    await removeDevice(mapper, this.#names.fence)
    await removeDevice(mapper, this.#names.bypass)
    for (const file of filesOf(this.#names, options.keepsLog)) rmSync(file, { force: true })
  }

  /** No proxy, and nothing of a former one gets to the disk; the guest's requests wait. */
  async #putDown(): Promise<void> {
    const { nbd, mapper } = this.#options
    const hasMultipath = (await mapper.find(this.#names.multipath)) !== undefined
    await Promise.all([
      this.#served?.proxy.kill(),
      hasMultipath ? this.multipath.park() : undefined,
      // What it owes fails now, and waits in the multipath device.
      disconnectAll(nbd, this.#names.identifier),
    ])
    this.#served = undefined
    if ((await mapper.find(this.#names.fence)) !== undefined) await this.#fence.cutOff()
  }

  /** Has the next proxy wait in the wings. Only for speed: without one it is started when due. */
  prepareNext({ isNice }: { readonly isNice: boolean }): void {
    if (this.#standby !== undefined) return
    const { log } = this.#options
    this.#standby = this.#spawn({ isStandby: true, isNice })
    void this.#standby.standsBy.then(() => log.info('next proxy stands by'))
  }

  /** From its first moment on a proxy a guest is to have the next one at hand. */
  async #awaitNext(): Promise<void> {
    this.prepareNext({ isNice: false })
    const ready = this.#standby?.standsBy ?? Promise.resolve()
    if (await settlesWithin(ready, STANDBY_MS_MAX)) return
    this.#options.log.warn('no proxy stands by yet; a guest would wait for one to start')
  }

  #spawn(how: { readonly isStandby: boolean; readonly isNice: boolean }): ProxyProcess {
    const { proxyCommand: command, log } = this.#options
    const node = this.#fence.node
    const proxy = ProxyProcess.spawn({ command, node, names: this.#names, ...how })
    if (!proxy.isProtected) log.warn('proxy is not protected against memory pressure')
    return proxy
  }

  async #serve(timeoutMs: number, times = new Times()): Promise<Served> {
    const { nbd } = this.#options
    const standby = this.#standby?.hasEnded === false ? this.#standby : undefined
    this.#standby = undefined
    standby?.begin()
    const proxy = standby ?? this.#spawn({ isStandby: false, isNice: false })
    try {
      const socket = await proxy.ready(timeoutMs)
      times.add('ready')
      const link = await connectLink(nbd, socket, {
        size: this.#guest.size,
        blockSize: logicalBlockSize(this.#fence.node),
        identifier: this.#names.identifier,
      })
      times.add('link')
      return { proxy, link }
    } catch (error) {
      await proxy.kill()
      throw error
    }
  }

  #record(): void {
    const { session, disk } = this.#options
    const { name: device, plain } = this.#guest
    writeRecord(this.#names.record, { session, disk, device, plain })
  }
}

export async function disconnectAll(nbd: KernelNbd, identifier: string): Promise<void> {
  for (const index of linksOf(identifier)) await nbd.disconnect(index)
}

/** Whether it is there or not, and suspended or not. */
export async function removeDevice(mapper: DeviceMapper, name: string): Promise<void> {
  const device = await mapper.find(name)
  if (device === undefined) return
  if (device.isSuspended && device.hasTable) await mapper.resume(name, { noFlush: true })
  await mapper.remove(name, { waitMs: REMOVE_MS_MAX })
}

/** How long each step of something took (ms). */
class Times {
  readonly all: Record<string, number> = {}
  #last = performance.now()

  add(step: string): void {
    const now = performance.now()
    this.all[step] = Math.round(now - this.#last)
    this.#last = now
  }
}
