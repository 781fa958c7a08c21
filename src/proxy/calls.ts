/**
 * What the two threads of a proxy ask of each other. Everything here is structured-cloneable; file
 * descriptors and addresses are numbers, and belong to the receiver once a call has been made.
 */
import type { DeviceInfo } from '../block/device.ts'
import type {
  MirrorCompleteParams,
  MirrorSetParams,
  MirrorStartParams,
} from '../control/messages.ts'
import type { MirrorStatus } from '../control/status.ts'
import type { EngineName } from '../io/engine.ts'
import type { StreamHandle } from '../tls/tls-socket.ts'

export interface OpenDisk {
  readonly path: string
  readonly readOnly: boolean
  readonly held: boolean
  readonly direct: 'auto' | 'on' | 'off'
  readonly engine: 'auto' | EngineName
  readonly bitmap: string | undefined
  /** Where the data thread counts what it does. */
  readonly counters: SharedArrayBuffer
}

export interface OpenedDisk {
  readonly info: DeviceInfo
  readonly engine: EngineName
  /** Why this engine, as a sentence for the log. */
  readonly engineReason: string
  readonly isDirect: boolean
  /** Dirty bytes of the bitmap found, or undefined when there was none. */
  readonly dirtyBytes: number | undefined
}

export interface AttachClient extends StreamHandle {
  readonly acknowledgement: Uint8Array
  readonly leftover: Uint8Array
  readonly structuredReplies: boolean
  readonly contextId: number
}

/** A connection to the mirror's target, ready for its first request. */
export interface TargetConnection extends StreamHandle {
  readonly size: number
  readonly transmissionFlags: number
  readonly blockSize: { minimum: number; preferred: number; maximum: number }
  readonly structuredReplies: boolean
  /** Id under which base:allocation was agreed, or undefined. */
  readonly contextId: number | undefined
}

/** Offered by the data thread. */
export type DataCalls = {
  open(options: OpenDisk): Promise<OpenedDisk>
  /** Serves a client; resolves when it is gone, with the reason. */
  attach(client: AttachClient): Promise<string>
  mirrorStart(params: MirrorStartParams): Promise<MirrorStatus>
  mirrorStatus(nothing: undefined): MirrorStatus | null
  mirrorSet(params: MirrorSetParams): MirrorStatus
  mirrorCancel(nothing: undefined): Promise<MirrorStatus>
  mirrorComplete(params: MirrorCompleteParams): Promise<MirrorStatus>
  mirrorResume(nothing: undefined): MirrorStatus
  /** Closes the disk, for another to be opened; there must be no client. */
  close(nothing: undefined): Promise<void>
  /** Finishes what is under way, within the deadline, and closes everything. */
  stop(options: { deadlineMs: number }): Promise<void>
}

export type LogLevel = 'error' | 'warn' | 'info' | 'debug'

/** Offered by the control thread. */
export type ControlCalls = {
  connectTarget(target: { uri: string; tlsPskFile: string | undefined }): Promise<TargetConnection>
  log(entry: { level: LogLevel; message: string; fields: Record<string, unknown> }): void
}
