/**
 * What xl knows of this host's domains. Its long listing is JSON; the parts that a migration looks
 * at are checked and named here, everything else is left alone. xl takes a lock of its own, so a
 * listing may wait for another xl.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { CommandError, runCommand } from './run-command.ts'
import { xenstoreRead, xenstoreWrite } from './xenstore.ts'

export const XL_TIMEOUT_MS = 30_000
/** How long a guest takes from a request to suspend that it has seen until it is suspended. */
const SUSPEND_MS_MAX = 4000
const SUSPEND_POLL_MS = 250

export interface DomainDisk {
  /** As in the guest: xvda. */
  readonly vdev: string
  /** `target=` of the configuration, word for word. */
  readonly path: string
  /** `phy`, `qdisk`, `tap`, or undefined where xl decides. */
  readonly backend: string | undefined
  /** Name of the hotplug script; undefined for the stock one. */
  readonly script: string | undefined
  readonly isReadOnly: boolean
}

export interface Domain {
  readonly domid: number
  readonly name: string
  readonly uuid: string | undefined
  /** `pv`, `pvh` or `hvm`. */
  readonly type: string | undefined
  readonly disks: readonly DomainDisk[]
}

/** An answer of xl that is not what it should be. */
export class XlError extends Error {
  override readonly name = 'XlError'
}

const run = (...words: string[]) => runCommand(['xl', ...words], { timeoutMs: XL_TIMEOUT_MS })

/** A name may be all digits, and still is no number. Throws CommandError, XlError. */
export async function findDomain(name: string): Promise<Domain | undefined> {
  if (name.startsWith('-')) throw new XlError(`domain ${name} looks like an option; check it`)
  return (await listDomains()).find(one => one.name === name) ?? (await findHalfMade(name))
}

/** Throws CommandError, XlError. */
export async function findDomainById(domid: number): Promise<Domain | undefined> {
  return (await listDomains()).find(one => one.domid === domid)
}

/** A domain whose xl was killed while it made it has a name, and no configuration to list. */
async function findHalfMade(name: string): Promise<Domain | undefined> {
  try {
    const domid = await domidOf(name)
    return { domid, name, uuid: undefined, type: undefined, disks: [] }
  } catch (error) {
    if (error instanceof CommandError && error.code === 'exit') return undefined
    throw error
  }
}

/** All domains but dom0. */
export async function listDomains(): Promise<Domain[]> {
  const { stdout } = await run('list', '-l')
  let listed: unknown
  try {
    listed = JSON.parse(stdout)
  } catch (error) {
    throw new XlError('xl list -l printed something else than JSON', { cause: error })
  }
  if (!Array.isArray(listed)) throw new XlError('xl list -l printed something else than a list')
  return listed.map(domainOf).filter(({ domid }) => domid !== 0)
}

/** Throws CommandError `exit` if there is none. */
export async function domidOf(name: string): Promise<number> {
  const { stdout } = await run('domid', name)
  return numberOf(stdout.trim(), 'xl domid')
}

/** Throws CommandError `exit` if there is none. */
export async function domainNameOf(domid: number): Promise<string> {
  return (await run('domname', `${domid}`)).stdout.trim()
}

export async function renameDomain(domain: string, name: string): Promise<void> {
  await run('rename', domain, name)
}

export async function unpauseDomain(domain: string): Promise<void> {
  await run('unpause', domain)
}

/** Harmless if it is gone already. */
export async function destroyDomain(domid: number): Promise<void> {
  try {
    await run('destroy', `${domid}`)
  } catch (error) {
    const isStillThere = (await listDomains()).some(one => one.domid === domid)
    if (isStillThere || !(error instanceof CommandError)) throw error
  }
}

/**
 * The flags of `xl list`, as `-b----`: running, blocked, paused, shutdown, why (`s` for suspend),
 * dying.
 */
export async function domainFlags(domid: number): Promise<string | undefined> {
  try {
    const { stdout } = await run('list', `${domid}`)
    return /\s([r-][b-][p-][s-][a-z-][d-])\s/.exec(stdout)?.[1]
  } catch (error) {
    if (error instanceof CommandError && error.code === 'exit') return undefined
    throw error
  }
}

/**
 * A guest that is suspended goes on; harmless if it is not. One whose xl was killed may just have
 * been asked to suspend: the question is taken back, as libxl does, and its answer is waited for a
 * while. Before 4.20 xl has no command for that, but it resumes a guest whose migration has failed:
 * so one is begun whose receiver says hello, takes nothing and ends. Throws CommandError, or
 * XlError if the guest is suspended still.
 */
export async function resumeDomain(domid: number): Promise<void> {
  if (!(await willSuspend(domid))) return
  const receiver = "printf 'xl migration receiver ready, send binary domain data.\\n'; sleep 1"
  try {
    await run('migrate', '-s', '', `${domid}`, receiver)
  } catch (error) {
    // It fails, as it should.
    if (!(error instanceof CommandError) || error.code !== 'exit') throw error
  }
  if (await isSuspended(domid)) {
    throw new XlError(`domain ${domid} stays suspended: try xl resume ${domid}, if xl has that`)
  }
}

async function willSuspend(domid: number): Promise<boolean> {
  const request = `/local/domain/${domid}/control/shutdown`
  if ((await xenstoreRead(request)) === 'suspend') await xenstoreWrite({ [request]: '' })
  const end = performance.now() + SUSPEND_MS_MAX
  for (;;) {
    if (await isSuspended(domid)) return true
    if (performance.now() > end) return false
    await sleep(SUSPEND_POLL_MS)
  }
}

async function isSuspended(domid: number): Promise<boolean> {
  return (await domainFlags(domid))?.slice(3, 5) === 'ss'
}

type Fields = Readonly<Record<string, unknown>>

function domainOf(value: unknown): Domain {
  const { domid, config } = fieldsOf(value)
  const info = fieldsOf(fieldsOf(config).c_info)
  const disks = fieldsOf(config).disks ?? []
  if (!Array.isArray(disks)) throw new XlError('xl list -l has disks that are no list')
  const number = numberOf(domid, 'xl list -l')
  return {
    domid: number,
    // dom0 comes without a configuration.
    name: textOf(info.name) ?? `Domain-${number}`,
    uuid: textOf(info.uuid),
    type: textOf(info.type),
    disks: disks.map(diskOf),
  }
}

function diskOf(value: unknown): DomainDisk {
  const disk = fieldsOf(value)
  const vdev = textOf(disk.vdev)
  if (vdev === undefined) throw new XlError('xl list -l has a disk without a vdev')
  return {
    vdev,
    path: textOf(disk.pdev_path) ?? '',
    backend: textOf(disk.backend),
    script: textOf(disk.script),
    // xl leaves out what is 0.
    isReadOnly: disk.readwrite !== 1,
  }
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {}
}

const textOf = (value: unknown): string | undefined =>
  typeof value === 'string' ? value : undefined

function numberOf(value: unknown, where: string): number {
  const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value
  if (typeof number === 'number' && Number.isSafeInteger(number) && number >= 0) return number
  throw new XlError(`${where} has ${JSON.stringify(value)} where a domain's number belongs`)
}
