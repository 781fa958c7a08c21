/**
 * A guest with disks that blkferry can move, and `blkferry migrate` of it as an operator would run
 * it, followed through its JSON. The types are those parts of its output that scenarios look at.
 */
import { createInterface } from 'node:readline'
import { now, seconds, until } from './clock.ts'
import { makeDisk, makeFile } from './disks.ts'
import { Guest, type GuestOptions, type Load } from './guest.ts'
import type { Host } from './host.ts'
import type { Figures, Lab } from './scenario.ts'

export interface Status {
  readonly session: string
  readonly phase: string
  readonly outcome: string | null
  readonly error: string | null
  readonly memory: { readonly state: string; readonly sentBytes: number }
  readonly disks: readonly {
    readonly state: string
    readonly copiedBytes: number
    readonly dirtyBytes: number
    readonly replacements: number
  }[]
  readonly downtimeMs: number | null
  readonly sealMs: number | null
}

/** A whole migration under emulation, from the command to its end. */
const MIGRATION_MS = 600_000
/** An emulated network is often late, which would keep the copy in background mode for long. */
const EMULATED = '--stall-ms 3000'
export const GUEST = 'web1'

export interface PreparedGuest {
  /** Where it starts; host a if left out. */
  readonly host?: Host
  readonly disks?: 1 | 2
  /** What its disks are on both hosts. */
  readonly places?: 'devices' | 'files'
  readonly type?: GuestOptions['type']
  readonly load?: Load
  /** Pause after each request (us). */
  readonly pauseUs?: number
}

/** Disks on both hosts, entries in their disk tables, and a guest on one of them that writes. */
export async function startGuest(lab: Lab, options: PreparedGuest = {}): Promise<Guest> {
  const { host = lab.a, disks = 1, places = 'devices', type = 'pvh' } = options
  const { load = 'steady', pauseUs = 50_000 } = options
  const names = Array.from({ length: disks }, (_unused, index) => `${GUEST}-${index}`)
  await Promise.all([lab.a, lab.b].map(one => addDisks(one, names, places)))
  const guest = await Guest.create(host, {
    name: GUEST,
    type,
    disks: names.map(name => `format=raw,access=rw,script=block-ferry,target=${name}`),
  })
  await guest.load(load, pauseUs)
  lab.say('the guest writes')
  return guest
}

/** Makes each disk on a host, and says in its table where it is. */
export async function addDisks(
  host: Host,
  names: readonly string[],
  places: 'devices' | 'files' = 'devices',
): Promise<void> {
  const make = { devices: makeDisk, files: makeFile }[places]
  const paths: string[] = []
  for (const [index, name] of names.entries()) {
    paths.push(await make(host, `local-${name}`, index))
  }
  await setPlaces(host, Object.fromEntries(names.map((name, index) => [name, paths[index] ?? ''])))
}

/** The host's table of disks: what each name stands for. */
export async function setPlaces(
  host: Host,
  places: Readonly<Record<string, string>>,
): Promise<void> {
  const lines = Object.entries(places).map(([name, path]) => `${name} ${path}\n`)
  await host.write('/etc/blkferry/disks', lines.join(''))
}

/** When something happens to a migration: at the first report of it that looks so. */
export const MOMENTS = {
  setup: status => status.phase === 'setup',
  copying: status => status.phase === 'active' && status.disks.some(disk => disk.copiedBytes > 0),
  /** xl has begun. */
  'memory-begins': status => status.memory.state === 'moving',
  /** A good part of it has passed. */
  memory: status => status.memory.state === 'moving' && status.memory.sentBytes > 20e6,
  switchover: status => status.phase === 'switchover',
} as const satisfies Readonly<Record<string, (status: Status) => boolean>>

export type Moment = keyof typeof MOMENTS

/** So slow that there is a middle of the copy. */
export const SLOW_COPY = '--bandwidth 4M'

/** A writing guest, and a migration of it that has come as far as the moment. */
export async function migrateUntil(
  lab: Lab,
  moment: Moment,
  guestOptions: PreparedGuest = {},
): Promise<{ readonly guest: Guest; readonly migration: RunningMigration }> {
  const guest = await startGuest(lab, guestOptions)
  const [from, to] = guest.host === lab.a ? [lab.a, lab.b] : [lab.b, lab.a]
  const migration = new RunningMigration(from, to, moment === 'copying' ? SLOW_COPY : '')
  await migration.reach(moment, MOMENTS[moment])
  return { guest, migration }
}

export class RunningMigration {
  readonly #command: ReturnType<Host['start']>
  readonly #host: Host
  readonly #says: string[] = []
  readonly #statuses: Status[] = []
  readonly started = now()
  #exitCode: number | undefined

  constructor(from: Host, to: Host, options = '') {
    this.#host = from
    const log = '/var/log/blkferry-migrate.log'
    const words = `${GUEST} ${to.address} --json ${EMULATED} ${options}`
    const command = `blkferry migrate ${words} 2>>${log}`
    // Written down as well, for the evidence.
    this.#command = from.start(`set -o pipefail; ${command} | tee -a ${log}`)
    this.#command.stdin.end()
    createInterface({ input: this.#command.stdout }).on('line', line => this.#read(line))
    this.#command.on('close', code => {
      this.#exitCode = code ?? 255
    })
  }

  get status(): Status | undefined {
    return this.#statuses.at(-1)
  }

  /** Waits for what `is` looks for. Throws with the last thing said if the command ends first. */
  async reach(what: string, is: (status: Status) => boolean): Promise<Status> {
    return await until(
      `migration: ${what}`,
      MIGRATION_MS,
      () => {
        const found = this.#statuses.find(is)
        if (found === undefined && this.#exitCode !== undefined) {
          throw new EndedEarly(`ended with ${this.#exitCode} before: ${what}; ${this.lastWords}`)
        }
        return found
      },
      20,
    )
  }

  /** Waits for the end of the command; its exit code. */
  async end(): Promise<number> {
    return await until('end of blkferry migrate', MIGRATION_MS, () => this.#exitCode, 50)
  }

  async expectExit(code: number): Promise<void> {
    const found = await this.end()
    if (found !== code) {
      throw new Error(`blkferry migrate ended with ${found}, not ${code}: ${this.lastWords}`)
    }
  }

  get lastWords(): string {
    return this.#says.slice(-2).join(' ')
  }

  /** Ctrl-C on the command. */
  async interrupt(): Promise<void> {
    await this.#host.run(`pkill -INT -f 'cli/main.js migrat[e] ${GUEST}'`)
  }

  #read(line: string): void {
    this.#says.push(line.slice(0, 600))
    try {
      const said = JSON.parse(line) as Partial<Status>
      if (typeof said.phase === 'string') this.#statuses.push(said as Status)
    } catch {
      // Something else that was printed; it is among the last words.
    }
  }
}

/** No disk can be added there; the rest of the script stays: libxl calls it again, to remove. */
export async function refuseAdds(host: Host): Promise<void> {
  const refuse = 'echo "refused by the lab" >&2; exit 1'
  const script = '/etc/xen/scripts/block-ferry'
  await host.run(`sed -i '2i if [ "$1" = add ]; then ${refuse}; fi' ${script}`)
}

export class EndedEarly extends Error {
  override readonly name = 'EndedEarly'
}

/** Exit code of a migration that has failed or was cancelled, with the guest at the source. */
export const AT_SOURCE = 5
/** Of one that was refused before it began. */
export const REFUSED = 1

/** What the session says of itself, for the table. */
export function figuresOf(status: Status | undefined): Figures {
  const told = (ms: number | null | undefined): string =>
    typeof ms === 'number' ? seconds(ms) : 'not told'
  return { 'own downtime': told(status?.downtimeMs), seal: told(status?.sealMs) }
}
