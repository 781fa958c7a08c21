/**
 * The control protocol: a client sends requests, the other side answers each with one reply of the
 * same id, in any order. Every message says the protocol's version, which is looked at before
 * anything else, so that two versions can at least tell each other apart. Both sides check all that
 * they receive.
 */
import { ControlError, REMOTE_CODES, type RemoteCode } from './control-error.ts'
import {
  anything,
  type Check,
  flag,
  integer,
  oneOf,
  optional,
  powerOfTwo,
  record,
  text,
} from './fields.ts'
import {
  COPY_MODE_CHOICES,
  type CopyModeChoice,
  GRANULARITY_MAX,
  GRANULARITY_MIN,
  type MirrorStatus,
  mirrorStatus,
  type ServeStatus,
  serveStatus,
} from './status.ts'
import type { VerbTable } from './verb-table.ts'

/** Counts up with every change that the other side could notice. */
export const CONTROL_VERSION = 1

/** Waits that a client may ask for are at most a day. */
export const WAIT_MS_MAX = 24 * 3600 * 1000

export interface MirrorStartParams {
  /** NBD URI of the target's export. */
  readonly target: string
  readonly copyMode: CopyModeChoice
  /** Bytes per second; 0 means no limit. */
  readonly bandwidth: number
  /** Bytes per dirty bit. */
  readonly granularity: number
  readonly stallMs: number
  /** How long a lost target is reconnected before the mirror fails. */
  readonly reconnectSeconds: number
  readonly tlsPskFile?: string
}

export interface MirrorSetParams {
  readonly bandwidth?: number
  readonly stallMs?: number
  readonly copyMode?: CopyModeChoice
}

export interface MirrorCompleteParams {
  /** Compare digests of both disks while the clients are held. */
  readonly verify: boolean
  /** Let the clients go on at the source afterwards, instead of holding them. */
  readonly resume: boolean
  readonly timeoutMs: number
}

export type Nothing = Record<never, never>

/** Each verb's parameters and result. */
export interface Verbs {
  readonly status: { params: Nothing; result: ServeStatus }
  readonly 'mirror-start': { params: MirrorStartParams; result: MirrorStatus }
  readonly 'mirror-status': { params: Nothing; result: MirrorStatus }
  readonly 'mirror-set': { params: MirrorSetParams; result: MirrorStatus }
  readonly 'mirror-cancel': { params: Nothing; result: MirrorStatus }
  readonly 'mirror-complete': { params: MirrorCompleteParams; result: MirrorStatus }
  readonly 'mirror-resume': { params: Nothing; result: MirrorStatus }
}

export type Verb = keyof Verbs

export interface Request {
  readonly version: typeof CONTROL_VERSION
  readonly id: number
  readonly verb: string
  readonly params: unknown
}

export interface Refusal {
  readonly code: RemoteCode
  readonly message: string
}

/** Exactly one of `result` and `error` is there. */
export interface Reply {
  readonly version: typeof CONTROL_VERSION
  /** The request's; 0 answers bytes in which no request could be recognised. */
  readonly id: number
  readonly result?: unknown
  readonly error?: Refusal
}

const ID_MAX = 2 ** 32 - 1
export const nothing: Check<Nothing> = record<Nothing>({})
const bandwidth = integer()
const stallMs = integer(1, 3_600_000)

/** The verbs of a proxy. */
export const proxyVerbs: VerbTable<Verbs> = {
  status: { params: nothing, result: serveStatus },
  'mirror-start': {
    params: record<MirrorStartParams>({
      target: text(1),
      copyMode: oneOf(COPY_MODE_CHOICES),
      bandwidth,
      granularity: powerOfTwo(GRANULARITY_MIN, GRANULARITY_MAX),
      stallMs,
      reconnectSeconds: integer(0, WAIT_MS_MAX / 1000),
      tlsPskFile: optional(text(1)),
    }),
    result: mirrorStatus,
  },
  'mirror-status': { params: nothing, result: mirrorStatus },
  'mirror-set': {
    params: record<MirrorSetParams>({
      bandwidth: optional(bandwidth),
      stallMs: optional(stallMs),
      copyMode: optional(oneOf(COPY_MODE_CHOICES)),
    }),
    result: mirrorStatus,
  },
  'mirror-cancel': { params: nothing, result: mirrorStatus },
  'mirror-complete': {
    params: record<MirrorCompleteParams>({
      verify: flag,
      resume: flag,
      timeoutMs: integer(1, WAIT_MS_MAX),
    }),
    result: mirrorStatus,
  },
  'mirror-resume': { params: nothing, result: mirrorStatus },
}

const version = integer(CONTROL_VERSION, CONTROL_VERSION) as Check<typeof CONTROL_VERSION>

const request: Check<Request> = record<Request>({
  version,
  id: integer(1, ID_MAX),
  verb: text(1, 64),
  params: anything as Check<object>,
})

const reply: Check<Reply> = record<Reply>({
  version,
  id: integer(0, ID_MAX),
  result: optional(anything as Check<object>),
  error: optional(record<Refusal>({ code: oneOf(REMOTE_CODES), message: text(1) })),
})

/**
 * The envelope of a request, as the proxy checks it. Throws `ControlError` version or malformed.
 */
export function checkRequest(message: unknown): Request {
  checkVersion(message, 'client')
  return request.check(message, 'request')
}

/** The envelope of a reply, as the client checks it. Throws `ControlError` version or malformed. */
export function checkReply(message: unknown): Reply {
  checkVersion(message, 'proxy')
  const checked = reply.check(message, 'reply')
  if ((checked.result === undefined) === (checked.error === undefined)) {
    throw new ControlError('malformed', 'reply must have either a result or an error')
  }
  return checked
}

/** Says both versions and which side is the older one. `peer` is who sent `message`. */
function checkVersion(message: unknown, peer: 'client' | 'proxy'): void {
  const theirs =
    typeof message === 'object' && message !== null && 'version' in message
      ? message.version
      : undefined
  if (typeof theirs !== 'number' || theirs === CONTROL_VERSION) return
  const proxy = peer === 'proxy' ? theirs : CONTROL_VERSION
  const client = peer === 'proxy' ? CONTROL_VERSION : theirs
  const remedy =
    proxy < client ? 'upgrade the blkferry that answers' : 'upgrade the blkferry that asks'
  throw new ControlError(
    'version',
    `control version ${client} asks and control version ${proxy} answers: ${remedy}`,
  )
}
