import { seconds, sleep } from '../clock.ts'
import type { Host } from '../host.ts'
import { MOMENTS, type Moment, RunningMigration, startGuest } from '../migration.ts'
import { expectOneOwner } from '../outcome.ts'
import type { Lab, Scenario } from '../scenario.ts'

/** Who is killed: the host it is on, and what its command line looks like. */
const VICTIMS = {
  'source-proxy': ['a', 'cli/main.js serv[e]'],
  'destination-proxy': ['b', 'cli/main.js serv[e]'],
  'source-daemon': ['a', 'cli/main.js daemo[n]'],
  'destination-daemon': ['b', 'cli/main.js daemo[n]'],
  'source-relay': ['a', '^[^ ]*node [^ ]*cli/main.js relay -'],
  'destination-relay': ['b', 'cli/main.js relay-receiv[e]'],
  'source-xl': ['a', '^(/[^ ]*/)?xl migrat[e] '],
  'destination-xl': ['b', '^(/[^ ]*/)?xl migrate-receiv[e]'],
  'memory-ssh': ['a', '^ssh .*relay-receiv[e]'],
  'channel-ssh': ['a', '^ssh .*blkferry channe[l]'],
  command: ['a', 'cli/main.js migrat[e] '],
} as const satisfies Readonly<Record<string, readonly ['a' | 'b', string]>>

type Victim = keyof typeof VICTIMS

/** When. */
type KillMoment = Exclude<Moment, 'memory-begins'>

const WORDS: Readonly<Record<KillMoment, string>> = {
  setup: 'as soon as there is one',
  copying: 'while the disk is copied',
  memory: 'while memory moves',
  switchover: 'between suspend and the end',
}

/**
 * Where the guest must be afterwards. `source`: the migration has failed or was cancelled.
 * `destination`: it has succeeded all the same. `one`: whichever was first, but exactly one.
 */
type Expected = 'source' | 'destination' | 'one'

/** While a session is set up (s). */
const APPEARS_S = 60

/** Longest time without an acknowledged write that a killed proxy may cause (ms). */
const STALL_MS_MAX = 2000

interface Cell {
  readonly victim: Victim
  readonly moment: KillMoment
  readonly expected: Expected
  readonly isCore?: true
}

const CELLS: readonly Cell[] = [
  { victim: 'source-proxy', moment: 'setup', expected: 'one' },
  { victim: 'source-proxy', moment: 'copying', expected: 'destination', isCore: true },
  { victim: 'source-proxy', moment: 'memory', expected: 'one' },
  { victim: 'source-proxy', moment: 'switchover', expected: 'one' },
  { victim: 'destination-proxy', moment: 'setup', expected: 'one' },
  { victim: 'destination-proxy', moment: 'copying', expected: 'destination' },
  { victim: 'destination-proxy', moment: 'memory', expected: 'one' },
  { victim: 'source-daemon', moment: 'setup', expected: 'source' },
  { victim: 'source-daemon', moment: 'copying', expected: 'source' },
  { victim: 'source-daemon', moment: 'memory', expected: 'source' },
  { victim: 'source-daemon', moment: 'switchover', expected: 'one' },
  { victim: 'destination-daemon', moment: 'setup', expected: 'one' },
  { victim: 'destination-daemon', moment: 'copying', expected: 'source' },
  { victim: 'destination-daemon', moment: 'memory', expected: 'source' },
  { victim: 'destination-daemon', moment: 'switchover', expected: 'one' },
  { victim: 'source-relay', moment: 'memory', expected: 'source', isCore: true },
  { victim: 'source-relay', moment: 'switchover', expected: 'one' },
  { victim: 'destination-relay', moment: 'memory', expected: 'source' },
  { victim: 'source-xl', moment: 'memory', expected: 'source' },
  { victim: 'source-xl', moment: 'switchover', expected: 'one' },
  { victim: 'destination-xl', moment: 'memory', expected: 'source' },
  { victim: 'destination-xl', moment: 'switchover', expected: 'one' },
  { victim: 'memory-ssh', moment: 'memory', expected: 'source' },
  { victim: 'memory-ssh', moment: 'switchover', expected: 'one' },
  { victim: 'channel-ssh', moment: 'setup', expected: 'source' },
  { victim: 'channel-ssh', moment: 'copying', expected: 'one' },
  { victim: 'channel-ssh', moment: 'memory', expected: 'one' },
  { victim: 'command', moment: 'setup', expected: 'source' },
  { victim: 'command', moment: 'copying', expected: 'source' },
  { victim: 'command', moment: 'memory', expected: 'source' },
]

export const kills: readonly Scenario[] = CELLS.map(cell => ({
  name: `kill-${cell.victim}-${cell.moment}`,
  sentence: `kill -9 of the ${cell.victim.replace('-', "'s ")}, ${WORDS[cell.moment]}: ${
    cell.expected === 'one' ? 'one host owns the disk' : `the guest is at the ${cell.expected}`
  }`,
  isCore: cell.isCore ?? false,
  run: async lab => {
    const { a, b, say } = lab
    const guest = await startGuest(lab)
    await guest.reset()
    // Slow enough for there to be a middle of the copy.
    const migration = new RunningMigration(a, b, '--bandwidth 8M')
    await migration.reach(cell.moment, MOMENTS[cell.moment])
    const [name, pattern] = VICTIMS[cell.victim]
    await kill(lab.hosts.host(name), pattern)
    say('killed')
    const stall = cell.moment === 'copying' ? await stallOf(lab, guest, cell.victim) : undefined
    const exitCode = cell.victim === 'command' ? undefined : await migration.end()
    say(`blkferry migrate ended with ${exitCode}: ${migration.lastWords}`)
    const expected = { source: a, destination: b, one: undefined }[cell.expected]
    const figures = await expectOneOwner(lab, guest, expected)
    if (exitCode !== undefined && exitCode !== 9 && (exitCode === 0) !== (figures.owner === 'b')) {
      throw new Error(`exit code ${exitCode}, but the guest is on ${figures.owner}`)
    }
    return { ...(stall === undefined ? {} : { stall }), exit: exitCode ?? 'killed', ...figures }
  },
}))

/**
 * Throws if there is nobody of that kind before long. The oldest, where there are several: beside
 * the proxy in the path the next one stands by.
 */
async function kill(host: Host, pattern: string): Promise<void> {
  const once = `pkill -9 -o -f -- '${pattern}'`
  await host.run(`timeout ${APPEARS_S} sh -c "until ${once}; do sleep 0.1; done"`, {
    timeoutMs: 2 * APPEARS_S * 1000,
  })
}

async function stallOf(
  lab: Lab,
  guest: Awaited<ReturnType<typeof startGuest>>,
  victim: Victim,
): Promise<string> {
  await sleep(6000)
  const ms = await guest.longestGapMs()
  lab.say(`longest gap of the guest's writes: ${seconds(ms)}`)
  if (victim === 'source-proxy' && ms > STALL_MS_MAX) {
    throw new Error(`the guest's writes stood still for ${seconds(ms)}`)
  }
  return seconds(ms)
}
