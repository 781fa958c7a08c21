/** The host as it is: device-mapper, kernel nbd, xenstore and xl. */
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { cleanUp, findLeftovers } from '../chain/leftovers.ts'
import { openDiskPath } from '../chain/open-disk-path.ts'
import { DeviceMapper } from '../host/device-mapper.ts'
import { KernelNbd } from '../host/kernel-nbd.ts'
import { CommandError } from '../host/run-command.ts'
import { xenstoreRead, xenstoreTree, xenstoreWatch, xenstoreWrite } from '../host/xenstore.ts'
import {
  destroyDomain,
  findDomain,
  findDomainById,
  listDomains,
  renameDomain,
  resumeDomain,
  unpauseDomain,
} from '../host/xl.ts'
import { ExportPorts } from './export-ports.ts'
import { DmGuestDevices } from './guest-devices.ts'
import type { Host, Toolstack, Xenstore } from './host.ts'
import { DmPlainDevices } from './plain-devices.ts'

const xenstore: Xenstore = {
  read: xenstoreRead,
  write: xenstoreWrite,
  tree: async path => {
    try {
      return await xenstoreTree(path)
    } catch (error) {
      // No such node.
      if (error instanceof CommandError && error.code === 'exit') return new Map()
      throw error
    }
  },
  watch: (path, changed) => xenstoreWatch(path, changed, () => {}),
}

const toolstack: Toolstack = {
  xl: ['xl'],
  find: findDomain,
  findById: findDomainById,
  list: listDomains,
  rename: (domid, name) => renameDomain(String(domid), name),
  destroy: destroyDomain,
  unpause: domid => unpauseDomain(String(domid)),
  resume: resumeDomain,
}

export interface RealHostOptions {
  readonly command: readonly [string, ...string[]]
  readonly runFolder: string
}

/** Throws DeviceMapperError where the kernel has none. */
export function openHost({ command, runFolder }: RealHostOptions): Host {
  const mapper = DeviceMapper.open()
  const chainFolder = join(runFolder, 'chain')
  // A guest can be started without it.
  let nbd: Promise<KernelNbd> | undefined
  const parts = async (log: Logger) => {
    nbd ??= KernelNbd.open()
    try {
      return { mapper, nbd: await nbd, runFolder: chainFolder, log }
    } catch (error) {
      nbd = undefined
      throw error
    }
  }
  return {
    name: hostname(),
    command,
    remoteCommand: ['blkferry'],
    runFolder,
    devices: new DmGuestDevices(mapper),
    plainDevices: new DmPlainDevices(mapper, join(runFolder, 'plain')),
    xenstore,
    toolstack,
    exportPorts: new ExportPorts(),
    openDiskPath: async options =>
      openDiskPath({ ...options, ...(await parts(options.log)), proxyCommand: command }),
    // Without the kernel's nbd, which may be missing where nothing is left.
    findLeftovers: log => findLeftovers({ mapper, runFolder: chainFolder, log }),
    cleanUp: async (leftover, outcome, log) => cleanUp(leftover, outcome, await parts(log)),
  }
}
