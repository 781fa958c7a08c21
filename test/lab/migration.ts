/**
 * A guest with disks that blkferry can move, and `blkferry migrate` of it as an operator would run
 * it, followed through its JSON. The types are those parts of its output that scenarios look at.
 */
import { createInterface } from 'node:readline'
import { now, seconds, until } from './clock.ts'
import { makeDisk } from './disks.ts'
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
  readonly disks?: 1 | 2
  readonly type?: GuestOptions['type']
  readonly load?: Load
  /** Pause after each request (us). */
  readonly pauseUs?: number
}

/** Disks on both hosts, entries in their disk tables, and a guest on `a` that writes. */
export async function startGuest(lab: Lab, options: PreparedGuest = {}): Promise<Guest> {
  const { disks = 1, type = 'pvh', load = 'steady', pauseUs = 50_000 } = options
  const names = Array.from({ length: disks }, (_unused, index) => `${GUEST}-${index}`)
  await Promise.all([lab.a, lab.b].map(host => addDisks(host, names)))
  const guest = await Guest.create(lab.a, {
    name: GUEST,
    type,
    disks: names.map(name => `format=raw,access=rw,script=block-ferry,target=${name}`),
  })
  await guest.load(load, pauseUs)
  lab.say('the guest writes')
  return guest
}

async function addDisks(host: Host, names: readonly string[]): Promise<void> {
  const lines: string[] = []
  for (const [index, name] of names.entries()) {
    lines.push(`${name} ${await makeDisk(host, `local-${name}`, index)}`)
  }
  await host.write('/etc/blkferry/disks', `${lines.join('\n')}\n`)
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

export class EndedEarly extends Error {
  override readonly name = 'EndedEarly'
}

/** What the session says of itself, for the table. */
export function figuresOf(status: Status | undefined): Figures {
  const told = (ms: number | null | undefined): string =>
    typeof ms === 'number' ? seconds(ms) : 'not told'
  return { 'own downtime': told(status?.downtimeMs), seal: told(status?.sealMs) }
}
