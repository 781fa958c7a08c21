/**
 * One call of libxl's hotplug script to the daemon. Everything here, and all that it imports, is
 * loaded inside a guest's downtime: so it has its own table of two verbs and no logger.
 */
import { ControlClient } from '../control/client.ts'
import { ControlError } from '../control/control-error.ts'
import { record, text } from '../control/fields.ts'
import type { VerbTable } from '../control/verb-table.ts'
import { type DaemonVerbs, HOTPLUG_MS_MAX } from '../daemon/messages.ts'
import { connectDaemon } from './start-daemon.ts'

type HotplugVerbs = Pick<DaemonVerbs, 'hotplug-add' | 'hotplug-remove'>

const path = record<{ path: string }>({ path: text(1, 256) })
const verbs: VerbTable<HotplugVerbs> = {
  'hotplug-add': { params: path, result: record<{ device: string }>({ device: text(1) }) },
  'hotplug-remove': { params: path, result: record<Record<string, never>>({}) },
}

/** libxl's own words, and the node of the disk's backend below /local/domain/0. */
export const ACTIONS = ['add', 'remove'] as const
export type Action = (typeof ACTIONS)[number]

/** Settles when libxl may go on. Rejects with `ControlError`; its sentence is for the operator. */
export async function callHotplug(action: string, backendPath: string): Promise<void> {
  const known = ACTIONS.find(one => one === action)
  if (known === undefined) {
    throw ControlError.refuse('invalid', `action must be add or remove, not ${action}`)
  }
  if (backendPath === '') {
    throw ControlError.refuse('invalid', 'XENBUS_PATH is empty: libxl sets it for its scripts')
  }
  using client = new ControlClient<HotplugVerbs>(await connectDaemon(), verbs)
  await client.call(`hotplug-${known}`, { path: backendPath }, { timeoutMs: HOTPLUG_MS_MAX })
}
