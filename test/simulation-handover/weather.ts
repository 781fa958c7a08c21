/** What may go wrong in a run, and how often. */
import type { Guest } from './guest.ts'
import type { Host } from './host.ts'

export interface Weather {
  /** Before each event. */
  readonly chanceOfTrouble: number
  /** The network, once down, never comes back. */
  readonly staysDown: boolean
}

/** Who it happens to. */
export interface Struck {
  readonly source: Host
  readonly destination: Host
  readonly guest: Guest
  breakLink(): void
  netDown(): void
  killRelay(host: Host): void
  killXl(host: Host): void
  crash(host: Host): void
  spoil(host: Host): void
  cancel(): void
}

export const TROUBLES: Readonly<Record<string, (run: Struck) => void>> = {
  'link breaks': run => run.breakLink(),
  'network down': run => run.netDown(),
  'mirror breaks': run => {
    run.guest.isMirrored = false
  },
  'source relay killed': run => run.killRelay(run.source),
  'destination relay killed': run => run.killRelay(run.destination),
  'sending xl killed': run => run.killXl(run.source),
  'receiving xl killed': run => run.killXl(run.destination),
  'source crashes': run => run.crash(run.source),
  'destination crashes': run => run.crash(run.destination),
  'source journal': run => run.spoil(run.source),
  'destination journal': run => run.spoil(run.destination),
  cancelled: run => run.cancel(),
}
