/**
 * A host without Xen: domains and xenstore are files that a stub of xl shares, disks are plain
 * files, and a guest is a writer in this process. The proxies, the daemon, the relays and the
 * hotplug call are the real ones.
 */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { ExportPorts } from '../../src/daemon/export-ports.ts'
import { identityOfPath } from '../../src/daemon/guest-devices.ts'
import type { GuestDevice, GuestDevices, Host, Toolstack, Xenstore } from '../../src/daemon/host.ts'
import { DmPlainDevices } from '../../src/daemon/plain-devices.ts'
import { BLKFERRY } from '../../src/demo/serve-process.ts'
import { DeviceMapper } from '../../src/host/device-mapper.ts'
import { fence } from '../../src/host/dm-swap.ts'
import { linearTable } from '../../src/host/dm-table.ts'
import type { Domain } from '../../src/host/xl.ts'
import { FakeDeviceMapper } from '../host/fake-device-mapper.ts'
import { FileDiskPath } from './file-disk-path.ts'
import type { Writer } from './writer.ts'

const FORWARD = new URL('stub-forward.mjs', import.meta.url).pathname
const STUB = new URL('stub-xl.mjs', import.meta.url).pathname
const POLL_MS = 20

interface StubDomain {
  readonly domid: number
  readonly name: string
  readonly uuid?: string
  readonly state: 'running' | 'suspended' | 'paused'
  /** Without a script it is the stock one. */
  readonly disks: readonly { vdev: string; disk: string; script?: string }[]
}

/** A device of this host that blkferry has not made. */
interface StubPlainDevice {
  readonly name: string
  readonly numbers: string
}

export class StubHost implements Host {
  readonly name: string
  readonly folder: string
  readonly command = [process.execPath, BLKFERRY] as const
  readonly remoteCommand: readonly [string, ...string[]] = ['blkferry']
  readonly runFolder: string
  readonly devices: GuestDevices
  readonly xenstore: Xenstore
  readonly toolstack: Toolstack
  readonly exportPorts: ExportPorts
  readonly made = new Map<string, GuestDevice>()
  readonly mapper = new DeviceMapper(new FakeDeviceMapper())
  readonly plainDevices: DmPlainDevices
  readonly #plain = new Map<string, StubPlainDevice>()
  readonly paths: FileDiskPath[] = []
  /** The guest that writes here, by disk; where it gets to is the host's to say. */
  writers: ReadonlyMap<string, Writer> = new Map()

  constructor(folder: string, name: string) {
    this.name = name
    this.folder = folder
    this.runFolder = join(folder, 'run')
    this.plainDevices = new DmPlainDevices(this.mapper, join(folder, 'run', 'plain'))
    for (const part of ['xenstore', 'domains', 'disks', 'bin', 'run']) {
      mkdirSync(join(folder, part), { recursive: true })
    }
    this.devices = this.#devices()
    this.xenstore = this.#xenstore()
    this.exportPorts = new ExportPorts(join(folder, 'ports'))
    this.toolstack = this.#toolstack()
    this.script('xl', `exec ${process.execPath} ${STUB} ${folder} "$@"`)
    this.script('blkferry', `exec ${process.execPath} ${BLKFERRY} "$@"`)
  }

  get socket(): string {
    return join(this.folder, 'daemon.sock')
  }

  get environment(): Record<string, string> {
    return {
      PATH: `${join(this.folder, 'bin')}:${process.env.PATH}`,
      BLKFERRY_SOCKET: this.socket,
      BLKFERRY_DIST: join(BLKFERRY, '../..'),
    }
  }

  /** `ssh` of this host reaches that one, as a process of this machine. */
  connectTo(other: StubHost): void {
    const names = Object.entries(other.environment).map(([name, value]) => `${name}='${value}'`)
    this.script(
      'ssh',
      `while [ $# -gt 0 ]; do
  case $1 in -G) echo 'hostname 127.0.0.1'; exit ;; -O) exit ;; --) shift; break ;;
  -L) [ ! -e ${this.folder}/bin/no-forward ] || { echo administratively prohibited >&2; exit 255; }
    [ -e ${this.folder}/cut ] || exec ${process.execPath} ${FORWARD} "$2" ;;
  esac
  shift
done
shift
[ ! -e ${this.folder}/cut ] || exit 255
exec env ${names.join(' ')} sh -c "$*"`,
    )
  }

  script(name: string, body: string): void {
    const path = join(this.folder, 'bin', name)
    writeFileSync(path, `#!/bin/sh\n${body}\n`)
    chmodSync(path, 0o755)
  }

  setFault(fault: string): void {
    writeFileSync(join(this.folder, 'fault'), fault)
  }

  diskFile(disk: string): string {
    return join(this.folder, 'disks', encodeURIComponent(disk))
  }

  /** As a logical volume whose path is `disk`. */
  async addPlainDevice(disk: string): Promise<StubPlainDevice> {
    const sectors = statSync(this.diskFile(disk)).size / 512
    const name = disk.replace('/dev/', '').replaceAll('/', '-')
    const { major, minor } = await this.mapper.create(name, linearTable('8:1', sectors, 2048))
    const device = { name, numbers: `${major}:${minor}` }
    this.#plain.set(disk, device)
    return device
  }

  get domains(): StubDomain[] {
    const folder = join(this.folder, 'domains')
    const files = readdirSync(folder).filter(name => name.endsWith('.json'))
    return files.map(name => JSON.parse(readFileSync(join(folder, name), 'utf8')) as StubDomain)
  }

  writeDomain(domain: StubDomain): void {
    const path = join(this.folder, 'domains', `${domain.domid}.json`)
    writeFileSync(`${path}.new`, JSON.stringify(domain))
    renameSync(`${path}.new`, path)
    this.#store(`/local/domain/${domain.domid}/name`, domain.name)
  }

  /** As xl destroy does, where no script is ours. */
  removeDomain(domid: number): void {
    rmSync(join(this.folder, 'domains', `${domid}.json`), { force: true })
    rmSync(join(this.folder, 'xenstore', encodeURIComponent(`/local/domain/${domid}/name`)))
  }

  #store(path: string, value: string): void {
    writeFileSync(join(this.folder, 'xenstore', encodeURIComponent(path)), value)
  }

  #devices(): GuestDevices {
    return {
      place: async disk => {
        const path = this.diskFile(disk)
        const numbers = this.#plain.get(disk)?.numbers
        const isReadOnly = (statSync(path).mode & 0o200) === 0
        const place = { path, isFile: numbers === undefined, blockSize: 512, isReadOnly }
        return { ...place, size: statSync(path).size, ...(numbers !== undefined && { numbers }) }
      },
      identityOf: disk => identityOfPath(this.diskFile(disk)),
      find: async disk => this.made.get(disk),
      make: async disk => {
        const minor = this.made.get(disk)?.minor ?? this.made.size
        const device = { name: disk, node: this.diskFile(disk), major: 253, minor }
        this.made.set(disk, device)
        return device
      },
      remove: async disk => {
        this.made.delete(disk)
      },
      userOf: async () => undefined,
    }
  }

  #xenstore(): Xenstore {
    const file = (path: string): string => join(this.folder, 'xenstore', encodeURIComponent(path))
    const absolute = (path: string): string => (path[0] === '/' ? path : `/local/domain/0/${path}`)
    const read = (path: string): string | undefined =>
      existsSync(file(path)) ? readFileSync(file(path), 'utf8') : undefined
    return {
      read: async path => read(absolute(path)),
      write: async values => {
        for (const [path, value] of Object.entries(values)) this.#store(absolute(path), value)
      },
      tree: async root => {
        const all = readdirSync(join(this.folder, 'xenstore')).map(decodeURIComponent)
        const below = all.filter(path => path.startsWith(`${root}/`))
        return new Map(below.map(path => [path, read(path) ?? '']))
      },
      watch: (path, changed) => {
        let last = read(path)
        const timer = setInterval(() => {
          const now = read(path)
          if (now !== last) changed()
          last = now
        }, POLL_MS)
        return { close: async () => clearInterval(timer) }
      },
    }
  }

  #toolstack(): Toolstack {
    const list = async (): Promise<Domain[]> =>
      this.domains.map(({ domid, name, uuid }) => ({
        domid,
        name,
        uuid,
        type: 'pvh',
        disks: [],
      }))
    const change = async (domid: number, changed: Partial<StubDomain>): Promise<void> => {
      const found = this.domains.find(one => one.domid === domid)
      if (found !== undefined) this.writeDomain({ ...found, ...changed })
    }
    return {
      xl: [join(this.folder, 'bin', 'xl')],
      list,
      find: async name => (await list()).find(one => one.name === name),
      findById: async domid => (await list()).find(one => one.domid === domid),
      rename: (domid, name) => change(domid, { name }),
      destroy: async domid =>
        rmSync(join(this.folder, 'domains', `${domid}.json`), { force: true }),
      unpause: domid => change(domid, { state: 'running' }),
      resume: domid => change(domid, { state: 'running' }),
    }
  }

  openDiskPath: Host['openDiskPath'] = async ({ device }) => {
    const folder = join(this.runFolder, `path-${device}`)
    const plain = [...this.#plain].find(([, { name }]) => name === device)
    const disk = plain?.[0] ?? device
    const path = new FileDiskPath(this.diskFile(disk), folder, () => this.writers.get(disk))
    if (plain !== undefined) path.discarded = () => fence(this.mapper, device)
    this.paths.push(path)
    return path
  }

  findLeftovers: Host['findLeftovers'] = async () => []
  cleanUp: Host['cleanUp'] = async () => {}
}
