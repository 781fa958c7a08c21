/**
 * One QEMU process that runs a Xen host, outliving the command that started it: its process id is
 * in the instance's folder. Every flag was found by trying: with SMAP dom0 dies, with AVX or XSAVE
 * user space is silently corrupted once a guest runs, with RDTSCP a PVH guest crashes.
 */
import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { runCommand } from '../../src/host/run-command.ts'
import { until } from './clock.ts'
import type { HostName, Instance } from './layout.ts'
import { monitor } from './monitor.ts'

const CPU = 'max,-smap,-xsave,-xsaveopt,-xsavec,-xsaves,-avx,-avx2,-fma,-f16c,-rdtscp'
const XEN_OPTIONS =
  'dom0_mem=1280M,max:1280M dom0_max_vcpus=1 com1=115200,8n1 console=com1 ' +
  'loglvl=warning guest_loglvl=warning noreboot spec-ctrl=no xpti=0 pv-l1tf=0'
const KERNEL_OPTIONS = 'console=hvc0 mitigations=off nopti quiet loglevel=4 net.ifnames=0'
const DATA_DISK = '2G'

/** `pv`: an older build that can migrate PV guests; the newest has no shadow paging. */
export type Hypervisor = 'newest' | 'pv'
const HYPERVISOR_FILES = { newest: 'xen', pv: 'xen-pv' } as const

/** What a saved state depends on besides the image. */
export const MACHINE_RECIPE = [CPU, XEN_OPTIONS, KERNEL_OPTIONS, DATA_DISK].join('\n')

export interface MachineOptions {
  /** The folder of the image. */
  readonly image: string
  readonly hypervisor: Hypervisor
  /** Port on loopback of the cable between the hosts; a listens, b connects. */
  readonly cable: number
  /** A saved state to go on from; a cold boot if left out. */
  readonly state?: string
}

export class Machine {
  readonly name: HostName
  readonly folder: string
  readonly #monitor: string

  constructor(instance: Instance, name: HostName) {
    this.name = name
    this.folder = join(instance.folder, name)
    this.#monitor = join(instance.sockets, `${name}.monitor`)
    mkdirSync(this.folder, { recursive: true })
  }

  get disks(): readonly string[] {
    return ['root.qcow2', 'data.qcow2'].map(name => join(this.folder, name))
  }

  /** On loopback, leads to port 22 of dom0. Throws when the machine has never been started. */
  get sshPort(): number {
    return Number(readFileSync(join(this.folder, 'ssh-port'), 'utf8'))
  }

  /** What dom0 and Xen printed on the serial line since the start. */
  get serial(): string {
    const path = join(this.folder, 'serial')
    return existsSync(path) ? readFileSync(path, 'utf8') : ''
  }

  get isRunning(): boolean {
    return this.#pid() !== undefined
  }

  /** New disks: everything that was on the old ones is gone. */
  async makeDisks(image: string): Promise<void> {
    const [root = '', data = ''] = this.disks
    const base = ['-b', join(image, 'dom0.img'), '-F', 'raw']
    await runCommand(['qemu-img', 'create', '-q', '-f', 'qcow2', ...base, root])
    await runCommand(['qemu-img', 'create', '-q', '-f', 'qcow2', data, DATA_DISK])
  }

  async start(options: MachineOptions): Promise<void> {
    rmSync(join(this.folder, 'serial'), { force: true })
    rmSync(this.#monitor, { force: true })
    writeFileSync(join(this.folder, 'ssh-port'), `${await freePort()}`)
    const log = openSync(join(this.folder, 'qemu.log'), 'w')
    const [program = '', ...words] = this.#argv(options)
    const child = spawn(program, words, {
      detached: true,
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    child.unref()
    child.on('error', () => {})
    putFirst(child.pid)
    writeFileSync(join(this.folder, 'pid'), `${child.pid}`)
    await until(`start of QEMU for host ${this.name}`, 20_000, () => {
      if (existsSync(this.#monitor)) return true
      if (child.exitCode === null) return undefined
      const said = readFileSync(join(this.folder, 'qemu.log'), 'utf8')
      throw new Error(`QEMU ended with ${child.exitCode}: ${said.trim()}`)
    })
  }

  /** At once, like a cut of its power. Settles when the process is gone. */
  async stop(): Promise<void> {
    const pid = this.#pid()
    if (pid === undefined) return
    process.kill(pid, 'SIGKILL')
    await until(
      `end of QEMU for host ${this.name}`,
      10_000,
      () => this.#pid() === undefined || undefined,
      50,
    )
  }

  monitor(command: string, timeoutMs?: number): Promise<string> {
    return monitor(this.#monitor, command, timeoutMs)
  }

  /** Saves memory and disks under `state` inside the disks; the machine stands still meanwhile. */
  async save(state: string): Promise<void> {
    await this.monitor(`savevm ${state}`, 120_000)
  }

  /** Pulls the cable between the hosts, or puts it back. */
  async setCable(isUp: boolean): Promise<void> {
    await this.monitor(`set_link n1 ${isUp ? 'on' : 'off'}`)
  }

  /**
   * After a saved state is loaded a network card may wait for ever for an interrupt that was on its
   * way when the state was saved. Its cable out and in again makes it look.
   */
  async wakeCards(): Promise<void> {
    for (const card of ['n0', 'n1']) {
      for (const state of ['off', 'on']) await this.monitor(`set_link ${card} ${state}`)
    }
  }

  /** Undefined unless the process with the noted id is really ours. */
  #pid(): number | undefined {
    try {
      const pid = Number(readFileSync(join(this.folder, 'pid'), 'utf8'))
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      return line.includes(join(this.folder, 'root.qcow2')) ? pid : undefined
    } catch {
      return undefined
    }
  }

  #argv(options: MachineOptions): string[] {
    const { image, cable } = options
    const [root, data] = this.disks
    const kernelOptions = `${KERNEL_OPTIONS} lab.host=${this.name}`
    const mac = `52:54:00:00:00:0${this.name}`
    const end = `${this.name === 'a' ? 'listen' : 'connect'}=127.0.0.1:${cable}`
    const file = (name: string): string => join(image, name)
    const modules = `${file('vmlinuz')} ${kernelOptions.replaceAll(',', ',,')},${file('initrd')}`
    return [
      'qemu-system-x86_64',
      ...['-name', `lab-${this.name}`, '-machine', 'pc', '-cpu', CPU, '-smp', '1', '-m', '2560'],
      ...['-accel', 'tcg,thread=multi,tb-size=512'],
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-kernel', file(HYPERVISOR_FILES[options.hypervisor]), '-append', XEN_OPTIONS],
      ...['-initrd', modules],
      ...['-serial', `file:${join(this.folder, 'serial')}`],
      ...['-monitor', `unix:${this.#monitor},server,nowait`],
      ...['-drive', `file=${root},if=none,id=d0,cache=unsafe`],
      ...['-device', 'virtio-blk-pci,drive=d0'],
      ...['-drive', `file=${data},if=none,id=d1,cache=unsafe,discard=unmap`],
      ...['-device', 'virtio-blk-pci,drive=d1'],
      ...['-netdev', `user,id=n0,hostfwd=tcp:127.0.0.1:${this.sshPort}-:22`],
      ...['-device', 'virtio-net-pci,netdev=n0,romfile='],
      ...['-netdev', `socket,id=n1,${end}`],
      ...['-device', `virtio-net-pci,netdev=n1,mac=${mac},romfile=`],
      ...['-device', 'virtio-rng-pci'],
      ...(options.state === undefined ? [] : ['-loadvm', options.state]),
    ]
  }
}

/** On loopback; another process could take it first, but hardly does. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/**
 * Before whatever else runs on this machine: an emulated host is slow enough, and time goes on
 * there while it does not. Where the kernel has no such groups it goes without.
 */
function putFirst(pid: number | undefined): void {
  try {
    writeFileSync(`/proc/${pid}/autogroup`, '-10')
  } catch {
    // Then it is one among others.
  }
}
