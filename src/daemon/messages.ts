/**
 * The daemon's verbs. Three kinds of callers: the command line and the hotplug script (first part),
 * the two ends of the relay (second), and the daemon of the other host, through `ssh HOST blkferry
 * channel` (third), where the source asks and the destination answers. What the destination wants
 * of the source, it answers to `peer-wait`.
 *
 * The protocol around them, versions and limits are those of `control/`. A refusal's code is one of
 * REMOTE_CODES: `no-session`, `refused` (this host will not, the sentence says why), `wrong-state`,
 * `invalid`, `unreachable` (the other host), `busy`, `timeout`, `internal`.
 */
import type { Nothing } from '../control/messages.ts'
import type { CopyModeChoice } from '../control/status.ts'
import type { DestinationQuestion } from '../migration/destination-relay.ts'
import type { Outcome, Word } from '../migration/phases.ts'
import type { SourceQuestion } from '../migration/source-relay.ts'
import type { ConfiguredGuest } from '../migration/xl-config.ts'
import type { DiskRole, Finding, SessionStatus, SessionSummary, Side } from './session-status.ts'

/** Where a daemon listens unless told otherwise. */
export const DAEMON_SOCKET = '/run/blkferry/daemon.sock'
/** How a relay begins what it says on stderr, among the lines of xl. */
export const RELAY_SAYS = 'blkferry relay: '
/** A hotplug call is answered within this; libxl gives the whole script 40 s. */
export const HOTPLUG_MS_MAX = 30_000
export const FINDINGS_MAX = 64
export const LIST_MAX = 128

/** How the other host is reached: the caller's own ssh, run by the daemon. */
export interface SshAccess {
  /** Of the caller's environment: HOME, USER, LOGNAME, PATH, SSH_AUTH_SOCK, ... */
  readonly environment: Readonly<Record<string, string>>
  /** Options for ssh, as `-p 2222`. */
  readonly options: readonly string[]
}

export interface MigrateStartParams {
  /** Name or number. */
  readonly domain: string
  readonly host: string
  readonly ssh: SshAccess
  /** Where the other host's disks are reached by TCP; left out: as ssh resolves `host`. */
  readonly address?: string
  readonly copyMode: CopyModeChoice
  /** Bytes per second of each disk's copy; 0: no limit. */
  readonly bandwidth: number
  readonly stallMs: number
  /** How long a lost link is tried again while the disks are copied. */
  readonly reconnectSeconds: number
  /** Words for `xl migrate`, as `-C`, `config`; not `-s`. */
  readonly xlOptions: readonly string[]
  /** Disks that are called something else at the destination. */
  readonly targets?: readonly { readonly vdev: string; readonly target: string }[]
  /** Disks over plain TCP. */
  readonly isInsecure: boolean
  /** Disks through ssh, not by a connection of their own; false if left out. */
  readonly isTunnelled?: boolean
}

export interface PrepareParams {
  readonly session: string
  readonly domain: string
  /** The source's name for itself. */
  readonly source: string
  /** Key of the session for TLS, in hexadecimal; empty: plain TCP. */
  readonly key: string
  readonly disks: readonly {
    readonly vdev: string
    readonly disk: string
    readonly size: number
    readonly blockSize: number
    readonly epoch: number
  }[]
}

export interface Prepared {
  /** One export for each disk, in the order asked; the source puts the address in. */
  readonly exports: readonly { readonly port: number; readonly name: string }[]
}

export interface RelayRoute {
  /** The command line of ssh to run. */
  readonly argv: readonly string[]
  /** The configuration that xl sends has to be this one's. */
  readonly guest: ConfiguredGuest
}

export const SOURCE_QUESTIONS = ['seal', 'give-away', 'take-back', 'confirm', 'resolve'] as const
export const DESTINATION_QUESTIONS = ['prepare', 'accept', 'refuse', 'settle', 'hand-back'] as const

export interface Session {
  readonly session: string
}

/** Each verb's parameters and result. */
export interface DaemonVerbs {
  readonly 'host-status': {
    params: Nothing
    result: { version: string; pid: number; host: string; sessions: number }
  }
  /** `path`: XENBUS_PATH, as `backend/vbd/1/51712`. Idempotent; writes all of libxl's nodes. */
  readonly 'hotplug-add': { params: { path: string }; result: { device: string } }
  readonly 'hotplug-remove': { params: { path: string }; result: Nothing }

  /**
   * Answers as soon as the session exists, in phase `setup`; ask `session-status` from then on. The
   * end of the caller's connection is `session-cancel`: a command that dies takes its session with
   * it, and past the point of no return the session goes on without it.
   */
  readonly 'migrate-start': { params: MigrateStartParams; result: SessionStatus }
  /** Those under way and the last ones that have ended, the newest first. */
  readonly 'session-list': { params: Nothing; result: { sessions: readonly SessionSummary[] } }
  readonly 'session-status': { params: Session; result: SessionStatus }
  /** Source only. `wrong-state` past the point of no return. Answers at once; the undo goes on. */
  readonly 'session-cancel': { params: Session; result: SessionStatus }
  /**
   * Source: asks the other host again; with `force` does as told without its word, which is the
   * operator's promise that the guest does not run there (or runs there).
   */
  readonly 'session-resolve': {
    params: { session: string; force: 'source-owns' | 'destination-owns' | null; ssh?: SshAccess }
    result: SessionStatus
  }

  /** In the order of names, those behind `after`; `isWhole`: there are no more. */
  readonly 'disk-list': {
    params: { after: string }
    result: { disks: readonly DiskRole[]; isWhole: boolean }
  }
  /**
   * The operator needs the copy here no more: given-away -> none; or owner -> none, if no guest has
   * it.
   */
  readonly 'disk-release': { params: { disk: string }; result: DiskRole }
  /** The operator says that this host owns it: none -> owner. */
  readonly 'disk-claim': { params: { disk: string }; result: DiskRole }

  /**
   * With `host`: both hosts are looked at; with `domain`: also whether its disks can be moved. The
   * other host is asked with `disks` and `memoryMiB`: whether it can receive them; and with
   * `isTrial` for a port that is open for a while.
   */
  readonly doctor: {
    params: {
      host?: string
      domain?: string
      ssh?: SshAccess
      disks?: readonly { disk: string; size: number; blockSize: number }[]
      memoryMiB?: number
      isTrial?: boolean
    }
    result: { here: readonly Finding[]; there: readonly Finding[]; port?: number }
  }

  /**
   * A relay is there; answered when it is to cancel. The end of its connection is its own end, and
   * whatever it left behind is put in order then.
   */
  readonly 'relay-attend': {
    params: { session: string; side: Side; pid: number; xlPid: number | null }
    result: Nothing
  }
  /** How many bytes went through so far; `isStreamOver`: the memory stream has ended. */
  readonly 'relay-progress': { params: { session: string; sentBytes: number }; result: Nothing }
  /** `problem`: of the relay's own, which nobody else knows; with `take-back`. */
  readonly 'relay-source': {
    params: { session: string; question: SourceQuestion; problem?: string }
    result: { outcome: Outcome | null }
  }
  readonly 'relay-destination': {
    params: { session: string; question: DestinationQuestion }
    result: Nothing
  }
  /** How the source's relay reaches the other host. */
  readonly 'relay-route': {
    params: { session: string; words: readonly string[] }
    result: RelayRoute
  }

  readonly 'peer-prepare': { params: PrepareParams; result: Prepared }
  /** Answers when the destination wants something of the source, or after the time with null. */
  readonly 'peer-wait': {
    params: { session: string; timeoutMs: number }
    result: { want: 'seal' | null; isOver: boolean }
  }
  /** The answer to `seal`; `error`: the copy is not whole and must not be used. */
  readonly 'peer-sealed': { params: { session: string; error: string | null }; result: Nothing }
  /**
   * What the destination's journal says; one that has not accepted refuses first, so that the word
   * stands. `epoch`: before the session. `nothing`: it has accepted, and the guest neither runs nor
   * is given back yet. `advice`: of its session, as in `SessionStatus`.
   */
  readonly 'peer-word': {
    params: { session: string; disks: readonly { disk: string; epoch: number }[] }
    result: { word: Word; advice?: string }
  }
}

export type DaemonVerb = keyof DaemonVerbs
