/** What a migration needs of a host, looked at before one is tried; each finding has its remedy. */
import { existsSync, readFileSync } from 'node:fs'
import type { ControlHandlers } from '../control/server-connection.ts'
import { runCommand } from '../host/run-command.ts'
import { describeHoldings } from '../migration/journal.ts'
import type { DaemonVerbs } from './messages.ts'
import { findGuest } from './preflight.ts'
import { messageOf, type SessionContext } from './session-context.ts'
import type { Finding } from './session-status.ts'
import type { Sessions } from './sessions.ts'

const PEER_MS_MAX = 60_000
const TOOL_MS_MAX = 15_000
const NO_SSH = { environment: {}, options: [] }

export function doctorOf(
  context: SessionContext,
  sessions: Sessions,
): ControlHandlers<DaemonVerbs>['doctor'] {
  return async ({ host, domain, ssh = NO_SSH }) => {
    const here = await look(context)
    if (domain !== undefined) here.push(await lookAtGuest(context, domain))
    if (host === undefined) return { here, there: [] }
    const peer = sessions.peer({ host, ssh })
    try {
      const { here: there } = await peer.call('doctor', {}, { timeoutMs: PEER_MS_MAX })
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

async function lookAtGuest(context: SessionContext, domain: string): Promise<Finding> {
  try {
    const { disks } = await findGuest(context, domain)
    const found = disks.map(({ vdev, size }) => `${vdev} ${size} bytes`).join(', ')
    return { name: 'guest', state: 'good', found: `${domain} can be moved: ${found}` }
  } catch (error) {
    const refusal = messageOf(error)
    const [found, remedy] = refusal.split(/: (?=[^:]*$)/)
    return { name: 'guest', state: 'bad', found: found ?? refusal, remedy: remedy ?? refusal }
  }
}
