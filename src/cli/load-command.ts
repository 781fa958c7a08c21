/**
 * Single commands without the others: what blkferry itself starts while a guest waits, or once for
 * each disk, must not load all of it first. `commands.ts` has the whole list.
 */
import type { Command } from './command.ts'

const LOADERS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.ts')).serveCommand,
  daemon: async () => (await import('./daemon.ts')).daemonCommand,
  channel: async () => (await import('./between-hosts.ts')).channelCommand,
  relay: async () => (await import('./between-hosts.ts')).relayCommand,
  'relay-receive': async () => (await import('./between-hosts.ts')).relayReceiveCommand,
  migrate: async () => (await import('./migrate.ts')).migrateCommand,
}

/** Undefined if the name is none of those; then it may be another command, or none. */
export async function loadCommand(name: string | undefined): Promise<Command | undefined> {
  if (name === undefined || !Object.hasOwn(LOADERS, name)) return undefined
  return await LOADERS[name]?.()
}
