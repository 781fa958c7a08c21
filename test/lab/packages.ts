/**
 * What the lab takes from Debian: its own tools for this machine, and kernels and hypervisors as
 * files. Versions are those that this machine's own package sources offer.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { runCommand } from '../../src/host/run-command.ts'

export const DOM0_PACKAGES = [
  ...['xen-utils-4.17', 'xen-utils-common', 'xenstore-utils'],
  ...['kmod', 'dmsetup', 'lvm2', 'udev', 'nbd-client', 'qemu-utils', 'e2fsprogs', 'util-linux'],
  ...['openssh-server', 'openssh-client', 'iproute2', 'iputils-ping', 'bridge-utils', 'socat'],
  ...['procps', 'psmisc', 'strace', 'busybox-static', 'libstdc++6'],
] as const

const HYPERVISOR = 'xen-hypervisor-4.17-amd64'
/** Built with shadow paging, without which a PV guest cannot migrate. */
const PV_HYPERVISOR = '4.17.5+72'
const DOWNLOAD_MS = 300_000

/** Of the distribution, as `bookworm`. */
export function codename(): string {
  const release = readFileSync('/etc/os-release', 'utf8')
  return /^VERSION_CODENAME=(\w+)/m.exec(release)?.[1] ?? 'bookworm'
}

/** The files of this machine's apt configuration that name Debian's own archive. */
export function debianSources(): string[] {
  const folder = '/etc/apt/sources.list.d'
  const files = [
    '/etc/apt/sources.list',
    ...readdirSync(folder)
      .filter(name => /\.(list|sources)$/.test(name))
      .map(name => join(folder, name)),
  ]
  const found = files.filter(path => {
    const lines = readIfPresent(path).split('\n')
    return lines.some(line => !line.startsWith('#') && line.includes('debian.org/debian'))
  })
  // A mirror may have any name: then everything that is configured has to do.
  return found.length > 0 ? found : files.filter(path => readIfPresent(path) !== '')
}

export interface Downloads {
  /** Unpacked: the kernel of dom0 with its modules, that of guests, and the two hypervisors. */
  readonly kernel: string
  readonly guestKernel: string
  readonly hypervisor: string
  readonly pvHypervisor: string
}

/** Fetches and unpacks what is not in `cache` yet. */
export async function download(cache: string): Promise<Downloads> {
  const pv = (await versions(HYPERVISOR)).find(version => version.startsWith(PV_HYPERVISOR))
  if (pv === undefined) {
    throw new Error(`${HYPERVISOR} ${PV_HYPERVISOR} is not offered: correct the apt sources`)
  }
  const [kernel, guestKernel] = [
    await dependency('linux-image-amd64'),
    await dependency('linux-image-cloud-amd64'),
  ]
  return {
    kernel: await unpack(kernel, cache),
    guestKernel: await unpack(guestKernel, cache),
    hypervisor: await unpack(HYPERVISOR, cache),
    pvHypervisor: await unpack(`${HYPERVISOR}=${pv}`, cache),
  }
}

/** Returns the folder with the package's files, of the version that is offered now. */
async function unpack(name: string, cache: string): Promise<string> {
  const [offered = ''] = name.includes('=') ? [''] : await versions(name)
  const to = join(cache, `package-${digest(`${name} ${offered}`)}`)
  if (existsSync(to)) return to
  const partial = `${to}.${process.pid}`
  mkdirSync(partial, { recursive: true })
  const get = 'cd "$1"; apt-get -qo APT::Sandbox::User=root download "$2"; dpkg-deb -x *.deb .'
  const timeoutMs = DOWNLOAD_MS
  await runCommand(['bash', '-ec', `${get}; rm *.deb`, '-', partial, name], { timeoutMs })
  if (!existsSync(to)) renameSync(partial, to)
  else rmSync(partial, { recursive: true })
  return to
}

async function dependency(metaPackage: string): Promise<string> {
  const { stdout } = await runCommand(['apt-cache', 'depends', metaPackage])
  const found = /Depends: (linux-image-\S+)/.exec(stdout)?.[1]
  if (found === undefined) throw new Error(`${metaPackage} is not offered: run apt-get update`)
  return found
}

async function versions(name: string): Promise<string[]> {
  const { stdout } = await runCommand(['apt-cache', 'madison', name])
  return stdout.split('\n').flatMap(line => line.split('|')[1]?.trim() ?? [])
}

function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** sha256sum's first 16 digits of what is given. */
export function digest(text: string | Buffer): string {
  return execFileSync('sha256sum', { input: text, encoding: 'utf8' }).slice(0, 16)
}
