/** What is kept of a scenario that failed, for whoever looks into it: a folder, a file a thing. */
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Host } from './host.ts'
import type { TwoHosts } from './two-hosts.ts'

const ASK_MS = 30_000

/** Each prints something worth knowing. */
const QUESTIONS: Readonly<Record<string, string>> = {
  xenstore: 'xenstore-ls -fp',
  domains: 'xl list -l; xl list',
  processes: 'ps axo pid,ppid,stat,wchan:20,etimes,args',
  'device-mapper': 'dmsetup table; dmsetup info; dmsetup status; dmsetup ls --tree',
  devices: 'lsblk; losetup -a; ls -l /dev/nbd* /dev/mapper; cat /proc/partitions',
  kernel: 'dmesg',
  'xl-dmesg': 'xl dmesg',
  network: 'ip address; ss -tnap; ss -lxp',
  'blkferry-status': 'timeout 20 blkferry status --json',
}

const FOLDERS = '/var/log/xen /var/lib/blkferry /run/blkferry /var/log/blkferry* /etc/blkferry'

export async function keepEvidence(hosts: TwoHosts, name: string, error: unknown): Promise<string> {
  const time = new Date().toISOString().slice(0, 19).replaceAll(':', '')
  const folder = join(hosts.instance.folder, 'failures', `${name}-${time}`)
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'error'), `${describe(error)}\n`)
  await Promise.all(hosts.hosts.map(host => keepOf(host, join(folder, host.name))))
  return folder
}

/** An error with its causes. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const cause = error.cause === undefined ? '' : `\ncaused by ${describe(error.cause)}`
  return `${error.stack ?? error.message}${cause}`
}

async function keepOf(host: Host, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true })
  for (const name of ['serial', 'qemu.log']) {
    const path = join(host.machine.folder, name)
    if (existsSync(path)) cpSync(path, join(folder, name))
  }
  for (const [name, question] of Object.entries(QUESTIONS)) {
    try {
      const { stdout, stderr } = await host.attempt(question, { timeoutMs: ASK_MS })
      writeFileSync(join(folder, name), stdout + stderr)
    } catch (error) {
      writeFileSync(join(folder, name), describe(error))
      // A host that does not answer once will not answer again.
      if (/cannot be reached/.test(String(error))) return
    }
  }
  const pack = `tar -cf - --ignore-failed-read ${FOLDERS} 2>/dev/null | base64`
  const { stdout } = await host.attempt(pack, { timeoutMs: ASK_MS })
  writeFileSync(join(folder, 'files.tar'), Buffer.from(stdout, 'base64'))
}
