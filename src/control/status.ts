/**
 * What a proxy tells about itself and its mirror. These are snapshots: plain numbers and words,
 * sizes in bytes, times in milliseconds unless the name says otherwise. `messages.ts` carries them.
 */
import {
  type Check,
  flag,
  integer,
  nullable,
  oneOf,
  powerOfTwo,
  quantity,
  record,
  text,
} from './fields.ts'

export const COPY_MODES = ['background', 'write-blocking'] as const
export const COPY_MODE_CHOICES = ['auto', ...COPY_MODES] as const
export const MIRROR_STATES = [
  'created',
  'running',
  'ready',
  'waiting',
  'switchover',
  'concluded',
] as const
export const MIRROR_OUTCOMES = ['completed', 'cancelled', 'failed'] as const

/** The granularities a dirty bitmap can have (bytes per chunk). */
export const GRANULARITY_MIN = 4096
export const GRANULARITY_MAX = 1024 * 1024

export type CopyMode = (typeof COPY_MODES)[number]
export type CopyModeChoice = (typeof COPY_MODE_CHOICES)[number]

export interface MirrorStatus {
  /** `waiting`: the target is lost and being reconnected. */
  readonly state: (typeof MIRROR_STATES)[number]
  /** Null until the state is `concluded`. */
  readonly outcome: (typeof MIRROR_OUTCOMES)[number] | null
  /** A sentence of at most 4096 characters: why the mirror failed, or why it waits. */
  readonly error: string | null
  /** The mode that guest writes follow now. */
  readonly copyMode: CopyMode
  readonly copyModeChoice: CopyModeChoice
  /** Nothing is dirty and every write goes to both disks. */
  readonly activelySynced: boolean
  readonly size: number
  readonly granularity: number
  readonly dirtyBytes: number
  /** Bytes the copier sent as data, as zeroes, and did not send because the target has them. */
  readonly copiedBytes: number
  readonly zeroedBytes: number
  readonly skippedBytes: number
  /** Bytes of guest writes sent to the target in write-blocking mode. */
  readonly forwardedBytes: number
  /** How often the copier has begun at the start of the bitmap; the first copy is pass 1. */
  readonly pass: number
  readonly rateBytesPerSecond: number
  readonly dirtyRateBytesPerSecond: number
  /** Null while it cannot be told. */
  readonly etaSeconds: number | null
  /** Limit of the copier in bytes per second; 0 means none. */
  readonly bandwidth: number
  readonly stallMs: number
  readonly stalls: number
  readonly reconnects: number
  readonly targetErrors: number
  readonly elapsedMs: number
  /** How long clients have been, or were, held at switchover. */
  readonly heldMs: number
}

/** Requests completed since the start; failed ones count too, and in `errors` besides. */
export interface RequestCounts {
  readonly reads: number
  readonly writes: number
  readonly flushes: number
  readonly trims: number
  readonly writeZeroes: number
  readonly otherRequests: number
  readonly errors: number
  readonly readBytes: number
  readonly writtenBytes: number
  readonly trimmedBytes: number
  readonly zeroedBytes: number
}

export interface ServeStatus {
  /** Of the software, not of the protocol. */
  readonly version: string
  readonly export: string
  readonly path: string
  readonly size: number
  readonly readOnly: boolean
  readonly engine: 'uring' | 'libuv'
  /** The disk is open with O_DIRECT. */
  readonly direct: boolean
  readonly clients: number
  readonly uptimeMs: number
  readonly pid: number
  readonly requests: RequestCounts
  readonly mirror: MirrorStatus | null
}

export const mirrorStatus: Check<MirrorStatus> = record<MirrorStatus>({
  state: oneOf(MIRROR_STATES),
  outcome: nullable(oneOf(MIRROR_OUTCOMES)),
  error: nullable(text()),
  copyMode: oneOf(COPY_MODES),
  copyModeChoice: oneOf(COPY_MODE_CHOICES),
  activelySynced: flag,
  size: integer(),
  granularity: powerOfTwo(GRANULARITY_MIN, GRANULARITY_MAX),
  dirtyBytes: integer(),
  copiedBytes: integer(),
  zeroedBytes: integer(),
  skippedBytes: integer(),
  forwardedBytes: integer(),
  pass: integer(),
  rateBytesPerSecond: quantity,
  dirtyRateBytesPerSecond: quantity,
  etaSeconds: nullable(quantity),
  bandwidth: quantity,
  stallMs: quantity,
  stalls: integer(),
  reconnects: integer(),
  targetErrors: integer(),
  elapsedMs: quantity,
  heldMs: quantity,
})

const requestCounts: Check<RequestCounts> = record<RequestCounts>({
  reads: integer(),
  writes: integer(),
  flushes: integer(),
  trims: integer(),
  writeZeroes: integer(),
  otherRequests: integer(),
  errors: integer(),
  readBytes: integer(),
  writtenBytes: integer(),
  trimmedBytes: integer(),
  zeroedBytes: integer(),
})

export const serveStatus: Check<ServeStatus> = record<ServeStatus>({
  version: text(1, 64),
  export: text(),
  path: text(1),
  size: integer(),
  readOnly: flag,
  engine: oneOf(['uring', 'libuv']),
  direct: flag,
  clients: integer(),
  uptimeMs: quantity,
  pid: integer(1),
  requests: requestCounts,
  mirror: nullable(mirrorStatus),
})
