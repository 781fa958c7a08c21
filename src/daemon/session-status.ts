/**
 * What a daemon tells about a session and about its disks: snapshots, sizes in bytes, times in
 * milliseconds unless the name says otherwise. `messages.ts` carries them.
 */
import {
  type Check,
  flag,
  integer,
  nullable,
  oneOf,
  optional,
  quantity,
  record,
  text,
} from '../control/fields.ts'
import { list } from '../control/list.ts'
import { COPY_MODES, type CopyMode } from '../control/status.ts'
import { DISK_NAME_MAX, SESSION_NAME_MAX } from '../migration/journal-codec.ts'
import { OUTCOMES, type Outcome, PHASES, type Phase } from '../migration/phases.ts'
import { ROLES, type Role } from '../migration/roles.ts'

/** Disks of one session. */
export const SESSION_DISKS_MAX = 16

export const SIDES = ['source', 'destination'] as const
export type Side = (typeof SIDES)[number]

/**
 * `waiting`: not in the path yet. `copying`: the first pass and those after it. `synced`: every
 * write reaches both hosts. `reconnecting`: the target is lost and being reconnected. `sealed`:
 * nothing gets through any more. `handed-over`: the destination has it. `restored`: the guest is on
 * its plain disk again. At the destination: `receiving`, `sealed` once the copy is whole and
 * flushed, `handed-over` once it owns it, `discarded` if it does not.
 */
export const DISK_STATES = [
  'waiting',
  'copying',
  'synced',
  'reconnecting',
  'receiving',
  'sealed',
  'handed-over',
  'restored',
  'discarded',
] as const
export type DiskState = (typeof DISK_STATES)[number]

export interface DiskStatus {
  /** As in the guest: xvda. */
  readonly vdev: string
  /** Its name in the configuration, `target=`; the journal knows it by this. */
  readonly disk: string
  readonly size: number
  readonly state: DiskState
  readonly dirtyBytes: number
  /** Sent as data or as zeroes, or skipped because it was there; passes add up. */
  readonly copiedBytes: number
  readonly rateBytesPerSecond: number
  readonly dirtyRateBytesPerSecond: number
  /** Null while it cannot be told. */
  readonly etaSeconds: number | null
  readonly copyMode: CopyMode | null
  /** How often a proxy died or hung and was replaced under the guest. */
  readonly replacements: number
  /** A sentence. */
  readonly error: string | null
}

/** Of a disk that nothing is copied to or from here. */
export function restingStatus(
  of: Pick<DiskStatus, 'vdev' | 'disk' | 'size' | 'state'>,
): DiskStatus {
  const { vdev, disk, size, state } = of
  return {
    vdev,
    disk,
    size,
    state,
    dirtyBytes: 0,
    copiedBytes: 0,
    rateBytesPerSecond: 0,
    dirtyRateBytesPerSecond: 0,
    etaSeconds: null,
    copyMode: null,
    replacements: 0,
    error: null,
  }
}

/**
 * `waiting`: the disks come first. `moving`: xl copies it while the guest runs. `suspended`: the
 * guest stands still. `starting`: permission to start has left. `done`, `ended`: it failed.
 */
export const MEMORY_STATES = [
  'waiting',
  'moving',
  'suspended',
  'starting',
  'done',
  'ended',
] as const
export type MemoryState = (typeof MEMORY_STATES)[number]

export interface MemoryStatus {
  readonly state: MemoryState
  /** Passed through the relay. */
  readonly sentBytes: number
  /** Since xl was started; 0 before. */
  readonly elapsedMs: number
}

export interface SessionStatus {
  readonly session: string
  readonly side: Side
  /** The guest's name. */
  readonly domain: string
  /** The other host, as it was named; at the destination as the source calls itself. */
  readonly peer: string
  readonly phase: Phase
  /** How far the undo of a failed session is: true until nothing of it is left on this host. */
  readonly isCleaningUp: boolean
  /** Null until it is known for good. `undefined`: an operator must `resolve`. */
  readonly outcome: Outcome | null
  /** A cancel would still be obeyed. */
  readonly isCancellable: boolean
  /** One sentence: why it failed or what is in the way now; null if nothing is. */
  readonly error: string | null
  /**
   * One sentence: what is left for the operator to do, where the session has come to its end and
   * the guest does not run. Left out if nothing is.
   */
  readonly advice?: string
  readonly elapsedMs: number
  readonly disks: readonly DiskStatus[]
  readonly memory: MemoryStatus
  /**
   * From the guest's suspend to its start at the destination, or to its resume at the source; null
   * before. Measured at the source.
   */
  readonly downtimeMs: number | null
  /** The disks' share of it: from the question to seal to the answer. */
  readonly sealMs: number | null
  /** When each phase began, since the start of the session. */
  readonly phases: readonly { readonly phase: Phase; readonly atMs: number }[]
}

/** Enough for a list; `session-status` has the rest. */
export interface SessionSummary {
  readonly session: string
  readonly side: Side
  readonly domain: string
  readonly peer: string
  readonly phase: Phase
  readonly outcome: Outcome | null
  readonly error: string | null
}

/** What this host is to a disk. */
export interface DiskRole {
  readonly disk: string
  readonly role: Role
  readonly epoch: number
  readonly session: string | null
  /** The guest's device of this disk on this host, as /dev/dm-3; null if there is none. */
  readonly device: string | null
}

export const sessionName: Check<string> = text(1, SESSION_NAME_MAX)
export const diskName: Check<string> = text(1, DISK_NAME_MAX)
const name = text(1, 256)

const diskStatus: Check<DiskStatus> = record<DiskStatus>({
  vdev: text(1, 64),
  disk: diskName,
  size: integer(),
  state: oneOf(DISK_STATES),
  dirtyBytes: integer(),
  copiedBytes: integer(),
  rateBytesPerSecond: quantity,
  dirtyRateBytesPerSecond: quantity,
  etaSeconds: nullable(quantity),
  copyMode: nullable(oneOf(COPY_MODES)),
  replacements: integer(),
  error: nullable(text()),
})

export const sessionStatus: Check<SessionStatus> = record<SessionStatus>({
  session: sessionName,
  side: oneOf(SIDES),
  domain: name,
  peer: name,
  phase: oneOf(PHASES),
  isCleaningUp: flag,
  outcome: nullable(oneOf(OUTCOMES)),
  isCancellable: flag,
  error: nullable(text()),
  advice: optional(text(1)),
  elapsedMs: quantity,
  disks: list(diskStatus, SESSION_DISKS_MAX),
  memory: record<MemoryStatus>({
    state: oneOf(MEMORY_STATES),
    sentBytes: integer(),
    elapsedMs: quantity,
  }),
  downtimeMs: nullable(quantity),
  sealMs: nullable(quantity),
  phases: list(
    record<{ phase: Phase; atMs: number }>({ phase: oneOf(PHASES), atMs: quantity }),
    64,
  ),
})

export const sessionSummary: Check<SessionSummary> = record<SessionSummary>({
  session: sessionName,
  side: oneOf(SIDES),
  domain: name,
  peer: name,
  phase: oneOf(PHASES),
  outcome: nullable(oneOf(OUTCOMES)),
  error: nullable(text()),
})

export const diskRole: Check<DiskRole> = record<DiskRole>({
  disk: diskName,
  role: oneOf(ROLES),
  epoch: integer(),
  session: nullable(sessionName),
  device: nullable(text(1)),
})

/** One thing that `doctor` looks at. */
export interface Finding {
  /** A stable word, as `device-mapper`. */
  readonly name: string
  /** `warning`: a migration works, but worse or not for every guest. */
  readonly state: 'good' | 'warning' | 'bad'
  /** What was found, in words. */
  readonly found: string
  /** What to do; left out if it is good. */
  readonly remedy?: string
}

export const finding: Check<Finding> = record<Finding>({
  name: text(1, 64),
  state: oneOf(['good', 'warning', 'bad']),
  found: text(1),
  remedy: optional(text(1)),
})
