/** What a migration needs of a host, looked at before one is tried; each finding has its remedy. */
import { existsSync, readFileSync } from 'node:fs'
import type { ControlHandlers } from '../control/server-connection.ts'
import { runCommand } from '../host/run-command.ts'
import { describeHoldings } from '../migration/journal.ts'
import {
  lookAtMemory,
  lookAtSpace,
  memoryOf,
  noPort,
  openTrialPort,
  tryPort,
} from './doctor-room.ts'
import { placesFor } from './incoming-disk.ts'
import type { DaemonVerbs } from './messages.ts'
import { findGuest } from './preflight.ts'
import { messageOf, type SessionContext } from './session-context.ts'
import type { Finding } from './session-status.ts'
import type { Sessions } from './sessions.ts'

const PEER_MS_MAX = 60_000
const TOOL_MS_MAX = 15_000
const NAME_MAX = 64
const NO_SSH = { environment: {}, options: [] }

export function doctorOf(
  context: SessionContext,
  sessions: Sessions,
): ControlHandlers<DaemonVerbs>['doctor'] {
  return async ({ host, domain, ssh = NO_SSH, disks = [], memoryMiB, isTrial = false }) => {
    const here = await look(context)
    for (const disk of disks) here.push(...(await lookAtPlace(context, disk)))
    if (memoryMiB !== undefined) here.push(await lookAtMemory(memoryMiB))
    const guest = domain === undefined ? undefined : await lookAtGuest(context, domain)
    if (guest !== undefined) here.push(guest.finding)
    if (isTrial) {
      const port = await openTrialPort(context).catch(noPort)
      if (typeof port === 'number') return { here, there: [], port }
      return { here: [...here, port], there: [] }
    }
    if (host === undefined) return { here, there: [] }
    const peer = sessions.peer({ host, ssh })
    try {
      const memory = guest?.memoryMiB === undefined ? {} : { memoryMiB: guest.memoryMiB }
      const asked = { disks: guest?.disks ?? [], ...memory, isTrial: true }
      const { here: there, port } = await peer.call('doctor', asked, { timeoutMs: PEER_MS_MAX })
      here.push(...compare(here, there))
      if (port !== undefined) here.push(await tryPort(await peer.address(), port))
      return { here, there }
    } catch (error) {
      const remedy = `make \`ssh ${host} blkferry doctor\` work as root, without a password`
      here.push({ name: 'other-host', state: 'bad', found: messageOf(error), remedy })
      return { here, there: [] }
    } finally {
      await peer.close().catch(() => {})
    }
  }
}

async function look(context: SessionContext): Promise<Finding[]> {
  const tools: readonly (readonly [name: string, argv: [string, ...string[]]])[] = [
    ['xl', ['xl', 'info', 'xen_version']],
    ['xenstore', ['xenstore-exists', '/local/domain/0']],
    ['losetup', ['losetup', '--version']],
    ['ssh', ['ssh', '-V']],
  ]
  const found = await Promise.all(tools.map(([name, argv]) => lookAtTool(name, argv)))
  const { disks } = context.journal
  return [
    ...found,
    lookAtModule('device-mapper', 'dm_mod', 'dm_mod'),
    lookAtModule('multipath', 'dm_multipath', 'dm_multipath dm_round_robin'),
    lookAtModule('nbd', 'nbd', 'nbd max_part=0'),
    lookAtModule('blkback', 'xen_blkback', 'xen-blkback'),
    lookAtPartitions(),
    {
      name: 'journal',
      state: 'good',
      found: disks.size === 0 ? 'no disk is known yet' : describeHoldings(disks).slice(0, 1000),
    },
  ]
}

async function lookAtTool(name: string, argv: [string, ...string[]]): Promise<Finding> {
  try {
    const { stdout, stderr } = await runCommand(argv, { timeoutMs: TOOL_MS_MAX })
    const said = (stdout || stderr).trim().split('\n')[0]
    return { name, state: 'good', found: said === undefined || said === '' ? 'works' : said }
  } catch (error) {
    const remedy = `make \`${argv.join(' ')}\` work`
    return { name, state: 'bad', found: messageOf(error), remedy }
  }
}

function lookAtModule(name: string, module: string, words: string): Finding {
  if (existsSync(`/sys/module/${module}`)) return { name, state: 'good', found: 'is loaded' }
  return { name, state: 'bad', found: 'is not loaded', remedy: `modprobe ${words}` }
}

/** A guest's partitions are not for this host to scan. */
function lookAtPartitions(): Finding {
  const name = 'nbd-partitions'
  const path = '/sys/module/nbd/parameters/max_part'
  const value = existsSync(path) ? readFileSync(path, 'utf8').trim() : '0'
  if (value === '0') return { name, state: 'good', found: 'are not looked for' }
  const remedy = 'put `options nbd max_part=0` into /etc/modprobe.d and load nbd again'
  return { name, state: 'warning', found: `max_part is ${value}`, remedy }
}

interface GuestDisk {
  readonly disk: string
  readonly size: number
  readonly blockSize: number
}

async function lookAtGuest(
  context: SessionContext,
  domain: string,
): Promise<{ finding: Finding; disks: readonly GuestDisk[]; memoryMiB?: number | undefined }> {
  try {
    const { disks, domid } = await findGuest(context, domain)
    const found = disks.map(({ vdev, size }) => `${vdev} ${size} bytes`).join(', ')
    const finding = {
      name: 'guest',
      state: 'good',
      found: `${domain} can be moved: ${found}`,
    } as const
    return {
      finding,
      disks: disks.map(({ disk, size, blockSize }) => ({ disk, size, blockSize })),
      memoryMiB: await memoryOf(context, domid),
    }
  } catch (error) {
    return { finding: refused('guest', messageOf(error)), disks: [] }
  }
}

/** Whether this host could receive the disk. */
async function lookAtPlace(context: SessionContext, wanted: GuestDisk): Promise<Finding[]> {
  const name = `disk ${wanted.disk}`.slice(0, NAME_MAX)
  try {
    const [path] = await placesFor(context, [wanted])
    const space = await lookAtSpace(wanted.disk, await context.host.devices.place(wanted.disk))
    return [
      { name, state: 'good', found: `fits into ${path}` },
      ...(space === undefined ? [] : [space]),
    ]
  } catch (error) {
    return [refused(name, messageOf(error))]
  }
}

/** A refusal is what was found, a colon, and what to do. */
function refused(name: string, refusal: string): Finding {
  const [found, remedy] = refusal.split(/[:;] (?=[^:;]*$)/)
  return { name, state: 'bad', found: found ?? refusal, remedy: remedy ?? refusal }
}

/** Two hosts that are fine by themselves need not fit. */
function compare(here: readonly Finding[], there: readonly Finding[]): Finding[] {
  const name = 'xl-versions'
  const [own, other] = [here, there].map(all => all.find(one => one.name === 'xl'))
  if (own?.state !== 'good' || other?.state !== 'good') return []
  if (own.found === other.found) return [{ name, state: 'good', found: 'the same on both hosts' }]
  const found = `${own.found} here, ${other.found} there`
  const remedy =
    'from an older to a newer one works as a rule; try it with a guest that matters less'
  return [{ name, state: 'warning', found, remedy }]
}
