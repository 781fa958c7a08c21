/**
 * The files that a host of the lab starts from: hypervisors, kernel, initramfs and a root file
 * system for dom0 with Xen's tools, node and the guest. Built once and kept in the cache under the
 * digest of everything that decides its content.
 */
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { runCommand } from '../../src/host/run-command.ts'
import { extractKernel, makeInitramfs, moduleFiles } from './initramfs.ts'
import { CACHE, LAB } from './layout.ts'
import { codename, DOM0_PACKAGES, debianSources, digest, download } from './packages.ts'

const DOM0_MODULES = [
  ...['virtio_pci', 'virtio_blk', 'virtio_net', 'virtio_rng', 'ext4', 'crc32c_generic'],
  ...['loop', 'nbd', 'null_blk', 'brd', 'overlay', 'af_packet', 'bridge', 'tun', 'sch_tbf'],
  ...['dm-mod', 'dm-multipath', 'dm-round-robin', 'dm-delay', 'dm-flakey', 'dm-zero'],
  ...['dm-snapshot', 'dm-mirror', 'dm-thin-pool', 'dm-log-writes', 'sch_netem'],
  ...['xenfs', 'xen-evtchn', 'xen-gntdev', 'xen-gntalloc', 'xen-privcmd'],
  ...['xen-blkback', 'xen-netback'],
] as const

/** Left out of dom0: documents, and what the package manager needs. */
const LEFT_OUT = [
  ...['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/info'],
  ...['usr/lib/udev/hwdb*', 'var/cache/apt', 'var/lib/apt/lists', 'dev'],
] as const

const SSH_CONFIG = `StrictHostKeyChecking no
UserKnownHostsFile /dev/null
LogLevel ERROR
`
/** One after the other; mmdebstrap loads some 150 packages (ms). */
const STEP_MS = 900_000
/** Space in the root file system for logs, blkferry and files as disks (MiB). */
const FREE_MIB = 700

/** Private key that every dom0 accepts, the same for all images. */
export const KEY = join(CACHE, 'key')

/** Builds what is not in the cache yet, telling `say` about it. Returns the folder. */
export async function openImage(say: (line: string) => void): Promise<string> {
  const folder = join(CACHE, `image-${recipe()}`)
  if (!existsSync(folder)) {
    say('building the hosts: some minutes the first time')
    const building = `${folder}.${process.pid}`
    mkdirSync(building, { recursive: true })
    try {
      await build(building, say)
      // Another process may have been faster; its result is as good.
      if (!existsSync(folder)) renameSync(building, folder)
    } finally {
      rmSync(building, { recursive: true, force: true })
    }
  }
  return folder
}

/** Everything that the image is made of, but for the versions that Debian offers just now. */
function recipe(): string {
  const parts = ['dom0', 'guest'].flatMap(name =>
    readdirSync(join(LAB, name)).map(file => join(LAB, name, file)),
  )
  const sources = ['image.ts', 'initramfs.ts', 'packages.ts'].map(name => join(LAB, name))
  const texts = [...parts, ...sources].map(path => `${path}\n${readFileSync(path, 'utf8')}`)
  return digest([process.version, codename(), ...texts].join('\n'))
}

async function build(folder: string, say: (line: string) => void): Promise<void> {
  say('fetching kernels and hypervisors')
  const from = await download(CACHE)
  const version = await prepareModules(from.kernel)
  const guestVersion = await prepareModules(from.guestKernel)
  for (const [name, source] of [
    ['xen', from.hypervisor],
    ['xen-pv', from.pvHypervisor],
  ] as const) {
    const packed = findFile(join(source, 'boot'), /^xen-4.*\.gz$/)
    await runCommand(['bash', '-ec', 'zcat "$1" >"$2"', '-', packed, join(folder, name)])
  }
  copyFileSync(join(from.kernel, 'boot', `vmlinuz-${version}`), join(folder, 'vmlinuz'))
  await makeInitramfs(join(folder, 'initrd'), {
    init: join(LAB, 'dom0/initramfs-init'),
    kernel: from.kernel,
    version,
    modules: ['virtio_pci', 'virtio_blk', 'crc32c_generic', 'ext4'],
  })
  if (!existsSync(KEY)) await runCommand(['ssh-keygen', '-qt', 'ed25519', '-N', '', '-f', KEY])
  say('installing dom0')
  const root = join(folder, 'root')
  await unpackDebian(root)
  await addModules(root, from.kernel, version)
  await addGuest(join(root, 'lab'), from.guestKernel, guestVersion)
  addOwnFiles(root)
  await makeFileSystem(root, join(folder, 'dom0.img'))
  rmSync(root, { recursive: true })
}

/** Returns the kernel's version. */
async function prepareModules(kernel: string): Promise<string> {
  const [version] = readdirSync(join(kernel, 'lib/modules'))
  if (version === undefined) throw new Error(`${kernel} has no kernel modules`)
  await runCommand(['depmod', '-b', kernel, version], { timeoutMs: STEP_MS })
  return version
}

/** The packages themselves are kept apart: a change of our own files should not load them again. */
async function unpackDebian(root: string): Promise<void> {
  const packages = DOM0_PACKAGES.join(',')
  const archive = join(CACHE, `debian-${digest(`${codename()} ${packages}`)}.tar`)
  if (!existsSync(archive)) {
    const partial = `${archive}.${process.pid}.tar`
    const options = ['--mode=root', '--variant=minbase', `--include=${packages}`]
    const words = [...options, codename(), partial, ...debianSources()]
    await runCommand(['mmdebstrap', ...words], { timeoutMs: STEP_MS })
    renameSync(partial, archive)
  }
  mkdirSync(root)
  const left = LEFT_OUT.map(path => `--exclude=./${path}/*`)
  await runCommand(['tar', '-xf', archive, '-C', root, ...left], { timeoutMs: STEP_MS })
}

async function addModules(root: string, kernel: string, version: string): Promise<void> {
  const lists = await Promise.all(DOM0_MODULES.map(name => moduleFiles(kernel, version, name)))
  const described = ['builtin', 'order', 'builtin.modinfo'].map(name =>
    join(kernel, 'lib/modules', version, `modules.${name}`),
  )
  for (const path of [...lists.flat(), ...described]) {
    const to = join(root, 'lib', relative(join(kernel, 'lib'), path))
    mkdirSync(dirname(to), { recursive: true })
    copyFileSync(path, to)
  }
  await runCommand(['depmod', '-b', root, version])
}

async function addGuest(to: string, kernel: string, version: string): Promise<void> {
  mkdirSync(to, { recursive: true })
  const writer = join(to, 'writer')
  const flags = ['-O2', '-Wall', '-Werror', '-static', '-pthread']
  await runCommand(['gcc', ...flags, '-o', writer, join(LAB, 'guest/writer.c')])
  await extractKernel(join(kernel, 'boot', `vmlinuz-${version}`), join(to, 'vmlinux'))
  await makeInitramfs(join(to, 'initrd'), {
    init: join(LAB, 'guest/init'),
    kernel,
    version,
    modules: ['xen-blkfront'],
    files: { 'bin/writer': writer },
  })
  rmSync(writer)
}

function addOwnFiles(root: string): void {
  for (const name of ['init', 'modules', 'ask']) {
    cpSync(join(LAB, 'dom0', name), join(root, 'lab', name))
  }
  copyFileSync(process.execPath, join(root, 'usr/bin/node'))
  const ssh = join(root, 'root/.ssh')
  mkdirSync(ssh, { recursive: true, mode: 0o700 })
  cpSync(KEY, join(ssh, 'id_ed25519'))
  cpSync(`${KEY}.pub`, join(ssh, 'authorized_keys'))
  const texts: Readonly<Record<string, string>> = {
    'root/.ssh/config': SSH_CONFIG,
    'etc/hosts': '127.0.0.1 localhost\n10.9.0.1 xena\n10.9.0.2 xenb\n',
    'etc/modprobe.d/zz-lab.conf': 'options nbd nbds_max=8 max_part=0\n',
    'etc/ssh/sshd_config.d/lab.conf': 'UseDNS no\nMaxStartups 50\nMaxSessions 50\n',
    'etc/default/xen': 'XENCONSOLED_ARGS="--log=guest --log-dir=/var/log/xen/console"\n',
  }
  for (const [path, text] of Object.entries(texts)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    const isAdded = path === 'etc/default/xen'
    writeFileSync(join(root, path), text, { flag: isAdded ? 'a' : 'w' })
  }
  for (const name of ['proc', 'sys', 'dev', 'run', 'tmp', 'mnt', 'var/log/xen/console']) {
    mkdirSync(join(root, name), { recursive: true })
  }
  mkdirSync(join(root, 'var/lib/xen'), { recursive: true })
}

async function makeFileSystem(root: string, disk: string): Promise<void> {
  // One host key: making the others takes the emulated processor long.
  const keys = `rm -f "$1"/etc/ssh/ssh_host_*
    ssh-keygen -q -t ed25519 -N "" -f "$1/etc/ssh/ssh_host_ed25519_key"
    chown -R 0:0 "$1/root" "$1/lab"; chmod 600 "$1/root/.ssh/id_ed25519"
    sed -i "s/^root:[^:]*:/root::/" "$1/etc/shadow"`
  await runCommand(['bash', '-ec', keys, '-', root])
  const { stdout } = await runCommand(['du', '-sm', root], { timeoutMs: STEP_MS })
  await runCommand(['truncate', '-s', `${Number.parseInt(stdout, 10) + FREE_MIB}M`, disk])
  const features = ['-O', '^has_journal,^metadata_csum', '-m', '0']
  const words = ['-q', '-t', 'ext4', ...features, '-d', root, disk]
  await runCommand(['mke2fs', ...words], { timeoutMs: STEP_MS })
}

function findFile(folder: string, pattern: RegExp): string {
  const found = readdirSync(folder).find(name => pattern.test(basename(name)))
  if (found === undefined) throw new Error(`${folder} holds no ${pattern}`)
  return join(folder, found)
}
