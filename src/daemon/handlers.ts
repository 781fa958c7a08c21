/** The daemon's verbs, answered by its parts. */
import { readFileSync } from 'node:fs'
import { ControlError } from '../control/control-error.ts'
import type { ControlHandlers } from '../control/server-connection.ts'
import { JournalError } from '../migration/journal-error.ts'
import type { RoleVerb } from '../migration/roles.ts'
import type { Hotplug } from './hotplug.ts'
import { type DaemonVerbs, LIST_MAX } from './messages.ts'
import { messageOf, refuse, type SessionContext } from './session-context.ts'
import type { DiskRole } from './session-status.ts'
import type { Sessions } from './sessions.ts'
import { vbdsOf } from './vbds.ts'
import { wordOf } from './word.ts'

const { version } = JSON.parse(
  readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
) as { version: string }

export interface Parts {
  readonly context: SessionContext
  readonly sessions: Sessions
  readonly hotplug: Hotplug
  readonly doctor: ControlHandlers<DaemonVerbs>['doctor']
}

export function daemonHandlers(parts: Parts): ControlHandlers<DaemonVerbs> {
  const { context, sessions, hotplug, doctor } = parts
  const { journal, host } = context
  return {
    'host-status': () => ({
      version,
      pid: process.pid,
      host: host.name,
      sessions: sessions.underWay,
    }),
    'hotplug-add': ({ path }) => hotplug.add(path),
    'hotplug-remove': async ({ path }) => {
      await hotplug.remove(path)
      return {}
    },
    'migrate-start': (params, signal) => sessions.start(params, signal),
    'session-list': () => ({ sessions: sessions.list().slice(0, LIST_MAX) }),
    'session-status': ({ session }) => sessions.find(session).status(),
    'session-cancel': ({ session }) => {
      const found = sessions.source(session)
      found.cancel()
      return found.status()
    },
    'session-resolve': async ({ session, force, ssh }) => {
      const found = sessions.source(session)
      await found.resolve(force, ssh)
      return found.status()
    },
    'disk-list': async ({ after }) => {
      const names = [...journal.disks.keys()].sort().filter(name => name > after)
      const disks = await Promise.all(names.slice(0, LIST_MAX).map(disk => roleOf(context, disk)))
      return { disks, isWhole: names.length <= LIST_MAX }
    },
    'disk-release': async ({ disk }) => {
      const { role, session } = journal.holding(disk)
      if (role === 'owner') {
        await checkUnused(context, disk)
        change(parts, 'give-up', disk, undefined)
        return roleOf(context, disk)
      }
      if (role !== 'given-away') {
        const what = `disk ${disk} is ${role} on this host`
        throw refuse(`${what}, and only one that it owns or has given away is released`)
      }
      checkFree(parts, disk)
      await host.plainDevices.restore(disk)
      change(parts, 'release', disk, session)
      return roleOf(context, disk)
    },
    'disk-claim': ({ disk }) => {
      change(parts, 'claim', disk, undefined)
      return roleOf(context, disk)
    },
    doctor,
    'relay-attend': async ({ session, side, pid, xlPid }, signal) => {
      const pids = xlPid === null ? [pid] : [pid, xlPid]
      if (side === 'source') await sessions.source(session).attend(pid, signal)
      else await sessions.destination(session).attend(pids, signal)
      return {}
    },
    'relay-progress': ({ session, sentBytes }) => {
      sessions.source(session).sent(sentBytes)
      return {}
    },
    'relay-source': async ({ session, question, problem }, signal) => {
      const found = sessions.source(session)
      if (problem !== undefined) found.abort(problem)
      return { outcome: await found.answer(question, signal) }
    },
    'relay-destination': ({ session, question }) => {
      sessions.destination(session).answer(question)
      return {}
    },
    'relay-route': ({ session, words }) => sessions.source(session).route(words),
    'peer-prepare': params => sessions.prepare(params),
    'peer-wait': ({ session, timeoutMs }) => sessions.destination(session).wait(timeoutMs),
    'peer-sealed': ({ session, error }) => {
      sessions.destination(session).sealed(error)
      return {}
    },
    'peer-word': ({ session, disks }) => {
      try {
        return sessions.destination(session).word()
      } catch (error) {
        if (!(error instanceof ControlError) || error.remoteCode !== 'no-session') throw error
        return { word: wordOf(journal, session, disks) }
      }
    },
  }
}

async function roleOf({ journal, host }: SessionContext, disk: string): Promise<DiskRole> {
  const { role, epoch, session } = journal.holding(disk)
  const device = await host.devices.find(disk).catch(() => undefined)
  return { disk, role, epoch, session: session ?? null, device: device?.node ?? null }
}

function checkFree({ sessions }: Parts, disk: string): void {
  if (sessions.isInvolved(disk)) throw refuse(`disk ${disk} is in a session: wait for its end`)
}

/** Throws `ControlError` refused if a guest has it. */
async function checkUnused({ host }: SessionContext, disk: string): Promise<void> {
  const vbds = await vbdsOf(host.xenstore)
  const user = vbds.find(vbd => vbd.disk === disk && vbd.device !== undefined)
  const by = user === undefined ? await host.devices.find(disk) : undefined
  if (user === undefined && by === undefined) return
  const what = user === undefined ? by?.name : `domain ${user.domid} as ${user.vdev}`
  throw refuse(`disk ${disk} is in use by ${what}: shut its guest down first`)
}

/** The operator's own steps, which no session may have a say in. */
function change(parts: Parts, verb: RoleVerb, disk: string, session: string | undefined): void {
  checkFree(parts, disk)
  try {
    parts.context.journal.apply(verb, [{ disk, ...(session !== undefined && { session }) }])
  } catch (error) {
    if (error instanceof JournalError && error.code === 'refused') throw refuse(messageOf(error))
    throw error
  }
}
