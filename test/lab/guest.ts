/**
 * A guest whose one program writes blocks with sequence numbers to all its disks, and can read back
 * everything that was ever acknowledged. It answers over its console, wherever it runs just now.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Host } from './host.ts'

/** `flush`: every eighth request is one; `trim` likewise; `large`: 128 KiB instead of 4 KiB. */
export type Load = 'idle' | 'steady' | 'flush' | 'trim' | 'large'

export interface GuestOptions {
  readonly name: string
  readonly type?: 'pvh' | 'pv'
  readonly memoryMib?: number
  /** xl's disk specifications without vdev: the first is xvda, and so on. */
  readonly disks: readonly string[]
}

export interface DiskStatus {
  readonly disk: string
  /** Writes whose success the guest has seen. */
  readonly acknowledged: number
  readonly flushed: number
  readonly trimmed: number
  /** I/O errors that reached the guest. */
  readonly errors: number
  readonly firstError: string
  /** Longest time between two acknowledgements since `reset`, or until now. */
  readonly longestGapMs: number
}

export interface Verified {
  /** Blocks of 4 KiB that were read. */
  readonly checked: number
  readonly bad: number
  readonly firstBad: string
  readonly errors: number
  readonly acknowledged: number
}

const CREATE_MS = 120_000
const ANSWER_SECONDS = 30
const VERIFY_SECONDS = 180

export class Guest {
  readonly name: string
  /** Where it runs; whoever moves it says so. */
  host: Host

  constructor(name: string, host: Host) {
    this.name = name
    this.host = host
  }

  /** Writes its configuration, creates it and waits until its disks are filled. */
  static async create(host: Host, options: GuestOptions): Promise<Guest> {
    const guest = new Guest(options.name, host)
    await host.write(guest.configPath, configuration(options))
    await host.run(`xl create -q '${guest.configPath}'`, { timeoutMs: CREATE_MS })
    await guest.#waitForDisks()
    return guest
  }

  get configPath(): string {
    return `/lab/${this.name}.cfg`
  }

  /** Gives the writer one command; its answer is JSON. Throws when there is none in time. */
  async ask(command: string, limitSeconds = ANSWER_SECONDS): Promise<unknown> {
    const words = `/lab/ask '${this.name}' ${limitSeconds} ${command}`
    const answer = await this.host.run(words, { timeoutMs: (limitSeconds + 30) * 1000 })
    return JSON.parse(answer)
  }

  /** `pauseUs` after each request; 2000 is a busy guest, 0 all that the emulated disk can take. */
  async load(load: Load, pauseUs = 2000): Promise<void> {
    await this.ask(`load ${load} ${pauseUs}`)
  }

  async status(): Promise<readonly DiskStatus[]> {
    const answer = (await this.ask('status')) as { disks: DiskStatus[] }
    return answer.disks
  }

  /** Writes acknowledged so far, on all disks. */
  async acknowledged(): Promise<number> {
    return (await this.status()).reduce((sum, disk) => sum + disk.acknowledged, 0)
  }

  /** Forgets the longest gap. */
  async reset(): Promise<void> {
    await this.ask('reset')
  }

  async longestGapMs(): Promise<number> {
    return Math.max(...(await this.status()).map(disk => disk.longestGapMs))
  }

  /** Reads all of every disk, beside the load. */
  async verify(): Promise<Verified> {
    return (await this.ask('verify', VERIFY_SECONDS)) as Verified
  }

  /** Throws unless each acknowledged write is there and no request ever failed. */
  async expectIntact(): Promise<Verified> {
    const found = await this.verify()
    const [failed] = (await this.status()).filter(disk => disk.errors > 0)
    if (found.bad > 0) {
      throw new Error(`${found.bad} of ${found.checked} blocks are wrong: ${found.firstBad}`)
    }
    if (found.errors > 0) {
      throw new Error(`the guest saw ${found.errors} I/O errors, first: ${failed?.firstError}`)
    }
    return found
  }

  /** Throws unless writes are acknowledged now. */
  async expectWriting(): Promise<void> {
    const before = await this.acknowledged()
    await sleep(1000)
    const after = await this.acknowledged()
    if (after <= before) throw new Error(`guest ${this.name} has stopped writing at ${after}`)
  }

  async destroy(): Promise<void> {
    await this.host.run(`xl destroy '${this.name}'`)
  }

  /** The writer says `answer 0` when it has written each block once. */
  async #waitForDisks(): Promise<void> {
    const log = `/var/log/xen/console/guest-${this.name}.log`
    const wait = `for i in $(seq 400); do
      grep -aqs '^answer 0 ' ${log} && exit 0
      grep -aqsE 'writer (cannot|has no)|Kernel panic' ${log} && break
      sleep 0.2
    done
    tail -n 5 ${log} >&2; exit 1`
    await this.host.run(wait, { timeoutMs: CREATE_MS })
  }
}

function configuration(options: GuestOptions): string {
  const { name, type = 'pvh', memoryMib = 96, disks } = options
  const vdevs = disks.map((_disk, index) => `xvd${'abcd'[index]}`)
  const kernelOptions = `console=hvc0 quiet loglevel=4 mitigations=off nopti rdinit=/init`
  const specifications = disks.map((disk, index) => `"vdev=${vdevs[index]},${disk}"`)
  return `name = "${name}"
type = "${type}"
kernel = "/lab/vmlinux"
ramdisk = "/lab/initrd"
extra = "${kernelOptions} lab.disks=${vdevs.join(',')}"
memory = ${memoryMib}
vcpus = 1
vif = []
disk = [ ${specifications.join(', ')} ]
on_crash = "preserve"
on_reboot = "destroy"
`
}
