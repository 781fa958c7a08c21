/** What a scenario is, and what it gets. */
import type { Host } from './host.ts'
import type { Hypervisor } from './machine.ts'
import type { Say, TwoHosts } from './two-hosts.ts'

export interface Lab {
  readonly hosts: TwoHosts
  readonly a: Host
  readonly b: Host
  readonly say: Say
}

/** Shown in the table beside the result, as `downtime: 4.2 s`. */
export type Figures = Readonly<Record<string, string | number>>

export interface Scenario {
  readonly name: string
  /** What holds if it passes. */
  readonly sentence: string
  /** Part of what runs when nothing else is asked for. */
  readonly isCore: boolean
  readonly hypervisor?: Hypervisor
  /** `nothing`: the scenario starts the hosts itself. Otherwise blkferry is installed on both. */
  readonly needs?: 'nothing'
  /** Throws if the sentence does not hold. The hosts are thrown away afterwards. */
  readonly run: (lab: Lab) => Promise<Figures>
}
