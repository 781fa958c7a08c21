/**
 * Two Xen hosts and the cable between them. A cold boot happens once for an image: its memory and
 * disks are saved, and from then on each instance goes on from a copy, in seconds. An instance can
 * save further states of its own, and go back to them.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { now, seconds, until } from './clock.ts'
import { Host } from './host.ts'
import { openImage } from './image.ts'
import { CACHE, type HostName, type Instance } from './layout.ts'
import { freePort, type Hypervisor, MACHINE_RECIPE } from './machine.ts'
import { digest } from './packages.ts'

const BOOT_MS = 400_000
const RESUME_MS = 120_000
/** The state in which every instance begins. */
const READY = 'ready'

export type Say = (line: string) => void

export class TwoHosts {
  readonly a: Host
  readonly b: Host
  readonly hypervisor: Hypervisor
  readonly instance: Instance
  readonly #say: Say
  /** Port of the cable that is plugged in now. */
  #cable = 0

  /** Starts nothing: the hosts may be running already. */
  constructor(instance: Instance, hypervisor: Hypervisor, say: Say) {
    this.instance = instance
    this.hypervisor = hypervisor
    this.#say = say
    this.a = new Host(instance, 'a')
    this.b = new Host(instance, 'b')
  }

  get hosts(): readonly Host[] {
    return [this.a, this.b]
  }

  get isRunning(): boolean {
    return this.hosts.every(host => host.machine.isRunning)
  }

  host(name: HostName): Host {
    return name === 'a' ? this.a : this.b
  }

  /** Both hosts freshly booted, with nothing of an earlier use. Builds what was never built. */
  async begin(): Promise<void> {
    await this.stop()
    const saved = await this.#savedState(await this.#openImage())
    for (const host of this.hosts) {
      for (const disk of host.machine.disks) {
        cpSync(join(saved, host.name, basename(disk)), disk)
      }
    }
    await this.resume(READY)
  }

  /** Goes back to a saved state: memory, disks and all. Returns how long it took (ms). */
  async resume(state: string): Promise<number> {
    const start = now()
    await this.#withOneRetry(`resuming ${state}`, () => this.#start(RESUME_MS, state))
    return now() - start
  }

  /** Both hosts, from power on to `xl info`. Returns how long it took (ms). */
  async boot(): Promise<number> {
    await this.stop()
    const image = await this.#openImage()
    for (const host of this.hosts) await host.machine.makeDisks(image)
    const start = now()
    await this.#withOneRetry('a boot', () => this.#start(BOOT_MS))
    return now() - start
  }

  async save(state: string): Promise<void> {
    for (const host of this.hosts) await host.disconnect()
    for (const host of this.hosts) await host.machine.save(state)
  }

  /**
   * Cuts the power of b and boots it again from its disks. Only b: the cable's other end, at a,
   * waits for somebody to plug in again.
   */
  async powerCycleB(): Promise<void> {
    const { b } = this
    await b.disconnect()
    await b.machine.stop()
    await b.machine.start(this.#machineOptions)
    await waitForConsole(b, BOOT_MS)
    await b.connect(BOOT_MS)
  }

  async stop(): Promise<void> {
    for (const host of this.hosts) await host.disconnect()
    for (const host of this.hosts) await host.machine.stop()
  }

  async #start(timeoutMs: number, state?: string): Promise<void> {
    await this.stop()
    this.#cable = await freePort()
    const options = this.#machineOptions
    for (const host of this.hosts) {
      await host.machine.start(state === undefined ? options : { ...options, state })
    }
    await Promise.all(
      this.hosts.map(async host => {
        if (state === undefined) await waitForConsole(host, timeoutMs)
        else await host.machine.wakeCards()
        await host.connect(timeoutMs)
      }),
    )
  }

  get #machineOptions(): { image: string; hypervisor: Hypervisor; cable: number } {
    return { image: this.#image(), hypervisor: this.hypervisor, cable: this.#cable }
  }

  async #openImage(): Promise<string> {
    const image = await openImage(this.#say)
    writeFileSync(join(this.instance.folder, 'image'), image)
    return image
  }

  /** The one that the present disks were made for, which need not be the newest. */
  #image(): string {
    return readFileSync(join(this.instance.folder, 'image'), 'utf8')
  }

  async #withOneRetry(what: string, start: () => Promise<void>): Promise<void> {
    try {
      await start()
    } catch (error) {
      this.#say(`${what} was spoilt and is tried once more: ${String(error)}`)
      await start()
    }
  }

  /** The folder with the disks of both hosts that hold the state `ready`; made by a cold boot. */
  async #savedState(image: string): Promise<string> {
    const what = [image, MACHINE_RECIPE, this.hypervisor].join('\n')
    const folder = join(CACHE, `state-${digest(what)}`)
    if (existsSync(folder)) return folder
    const took = await this.boot()
    this.#say(`two hosts booted in ${seconds(took)}, saving their state`)
    // What is in the page cache now need not be read by every instance.
    const warm = 'for i in 1 2; do node --eval 0; xl info >/dev/null; dmsetup version; done'
    await Promise.all(this.hosts.map(host => host.run(warm)))
    await this.save(READY)
    await this.stop()
    const partial = `${folder}.${process.pid}`
    for (const host of this.hosts) {
      mkdirSync(join(partial, host.name), { recursive: true })
      for (const disk of host.machine.disks) {
        cpSync(disk, join(partial, host.name, basename(disk)))
      }
    }
    if (existsSync(folder)) rmSync(partial, { recursive: true })
    else renameSync(partial, folder)
    return folder
  }
}

async function waitForConsole(host: Host, timeoutMs: number): Promise<void> {
  await until(`boot of host ${host.name}`, timeoutMs, () => {
    const text = host.machine.serial
    if (text.includes('lab: failed')) throw new Error(`xl info fails on host ${host.name}`)
    return text.includes('lab: ready') || undefined
  })
}
