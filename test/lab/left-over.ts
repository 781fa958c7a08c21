/** What must not be there after a migration: whatever a session made for itself, on either host. */
import { until } from './clock.ts'
import type { Host } from './host.ts'

/** Undoing may go on for a while after the command has ended. */
const CLEAN_MS = 60_000

/**
 * Prints a line for each thing. A guest's own device is `blkferry` too and stays where the guest
 * runs, on plain linear mappings, for a file over a loop device; anything else of device-mapper's
 * kinds is of a session, and so is a loop device that nothing stands on. The receiving xl stays as
 * the guest's monitor, and writes to the guest's log then.
 */
const LOOK = `
dmsetup table 2>/dev/null | grep -E ': .* (multipath|error|delay) ' | sed 's/^/dm /'
dmsetup table 2>/dev/null | grep -E '43:[0-9]' | sed 's/^/dm over nbd: /'
for size in /sys/block/nbd*/size; do
  [ "$(cat "$size")" = 0 ] || echo "nbd device $size"
done
for loop in /sys/block/loop*/loop; do
  [ ! -d "$loop" ] || [ -n "$(ls "\${loop%/loop}/holders")" ] || echo "loop device $loop"
done
ps axo args | grep -E '[c]li/main.js (serve|relay|channel|migrate)' | sed 's/^/process /'
ps axo args | grep '[x]enstore-watch' | sed 's/^/process /'
xl list | awk 'NR > 1 && $1 ~ /--(incoming|migratedaway)$/ { print "domain " $1 }'
for pid in $(pgrep -f '[x]l (migrate|migrate-receive)'); do
  case "$(readlink "/proc/$pid/fd/1")" in
    /var/log/xen/xl-*) ;;
    *) echo "process $(tr '\\0' ' ' < "/proc/$pid/cmdline")" ;;
  esac
done
ls /run/blkferry/sessions 2>/dev/null | sed 's/^/session folder /'
ls /run/blkferry/chain 2>/dev/null | grep -v '\\.log$' | sed 's/^/file of a path /'
ss -Htlnp 2>/dev/null | grep '"node"' | sed 's/^/listening /'
true
`

/** Throws with the list if something is still there when time is up. */
export async function expectNothingLeft(hosts: readonly Host[]): Promise<void> {
  for (const host of hosts) {
    let found = ''
    try {
      await until(`clean-up on ${host.name}`, CLEAN_MS, async () => {
        found = (await host.run(LOOK)).trim()
        return found === '' || undefined
      })
    } catch (error) {
      throw new Error(`left over on host ${host.name}: ${found}`, { cause: error })
    }
  }
}

/** Throws unless no path's log is there, which only one that was lost, or never began, leaves. */
export async function expectNoLogs(host: Host): Promise<void> {
  const found = (await host.run('ls /run/blkferry/chain 2>/dev/null || true')).trim()
  if (found !== '') throw new Error(`left over on host ${host.name}: ${found}`)
}

/** The host that has the running guest `name`; throws unless exactly one of them does. */
export async function whereRuns(name: string, hosts: readonly Host[]): Promise<Host> {
  const look = `xl list '${name}' 2>/dev/null | awk 'NR == 2 { print $5 }'`
  const found: Host[] = []
  for (const host of hosts) {
    const state = (await host.run(look)).trim()
    // Six places, in order: running, blocked, paused, shut down, crashed, dying.
    if (state !== '' && !/[pscd]/.test(state)) found.push(host)
  }
  const [one] = found
  if (one === undefined || found.length !== 1) {
    throw new Error(`guest ${name} runs on ${found.length} hosts`)
  }
  return one
}

/** Throws unless exactly the given host owns every disk of the guest, in its journal's words. */
export async function expectOwner(
  owner: Host,
  other: Host,
  disks: readonly string[],
): Promise<void> {
  for (const host of [owner, other]) {
    const status = JSON.parse(await host.run('blkferry status --json')) as {
      readonly disks: readonly { readonly disk: string; readonly role: string }[]
    }
    for (const disk of disks) {
      const role = status.disks.find(known => known.disk === disk)?.role ?? 'none'
      if ((role === 'owner') !== (host === owner)) {
        throw new Error(`host ${host.name} is ${role} of ${disk}; ${owner.name} should own it`)
      }
    }
  }
}
