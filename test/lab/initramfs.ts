/** A busybox initramfs with some kernel modules, for dom0 and for the guest; and a plain kernel. */
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { runCommand } from '../../src/host/run-command.ts'

export interface Initramfs {
  readonly init: string
  /** An unpacked kernel package, after depmod. */
  readonly kernel: string
  readonly version: string
  readonly modules: readonly string[]
  /** Path inside, and file outside. */
  readonly files?: Readonly<Record<string, string>>
}

/** The first bytes of what the kernel's own build makes with lz4. */
const LZ4_LEGACY = 0x184c2102

/** Where modprobe would load `module` and what it needs from, in order of loading. */
export async function moduleFiles(
  kernel: string,
  version: string,
  module: string,
): Promise<string[]> {
  const words = ['modprobe', '-d', kernel, '-S', version, '--show-depends', module]
  const { stdout } = await runCommand(words as [string, ...string[]])
  return [...stdout.matchAll(/^insmod (\S+)/gm)].map(([, path = '']) => path)
}

export async function makeInitramfs(to: string, what: Initramfs): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'lab-'))
  try {
    for (const folder of ['bin', 'dev', 'proc', 'sys', 'mnt', 'modules', 'run', 'tmp']) {
      mkdirSync(join(root, folder))
    }
    copyFileSync('/bin/busybox', join(root, 'bin/busybox'))
    symlinkSync('busybox', join(root, 'bin/sh'))
    const order = new Set<string>()
    for (const module of what.modules) {
      for (const path of await moduleFiles(what.kernel, what.version, module)) {
        order.add(basename(path))
        copyFileSync(path, join(root, 'modules', basename(path)))
      }
    }
    writeFileSync(join(root, 'modules/order'), `${[...order].join('\n')}\n`)
    copyFileSync(what.init, join(root, 'init'))
    chmodSync(join(root, 'init'), 0o755)
    for (const [inside, outside] of Object.entries(what.files ?? {})) {
      copyFileSync(outside, join(root, inside))
    }
    await runCommand(['mknod', join(root, 'dev/console'), 'c', '5', '1'])
    const pack = 'cd "$1"; find . | cpio --create --format=newc --quiet | gzip -1 >"$2"'
    await runCommand(['bash', '-o', 'pipefail', '-ec', pack, '-', root, to])
  } finally {
    rmSync(root, { recursive: true })
  }
}

/**
 * Takes the kernel proper out of a bzImage: unpacking it takes the emulated processor seconds at
 * each start of a guest. The header's fields are those of the kernel's boot protocol.
 */
export async function extractKernel(bzImage: string, to: string): Promise<void> {
  const image = readFileSync(bzImage)
  const start = (image.readUInt8(0x1f1) + 1) * 512 + image.readUInt32LE(0x248)
  // Its last four bytes are the length of what it unpacks to.
  const payload = image.subarray(start, start + image.readUInt32LE(0x24c) - 4)
  if (payload.readUInt32LE(0) !== LZ4_LEGACY) {
    throw new Error(`${bzImage} is not compressed with lz4: teach extractKernel its format`)
  }
  const packed = `${to}.lz4`
  writeFileSync(packed, payload)
  await runCommand(['lz4', '-dqf', packed, to])
  rmSync(packed)
}
